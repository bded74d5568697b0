const fs = require('fs')
const file = process.env.INPUT_FILE
console.log(`::notice file=${file}::${fs.readFileSync(file, 'utf8').length} characters, says node ${process.version}`)
