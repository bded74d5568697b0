console.log('cleanup')
