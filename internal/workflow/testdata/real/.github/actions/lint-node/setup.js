console.log('setup')
