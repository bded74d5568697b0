const fs = require('fs')
console.log(`linting ${process.env.INPUT_FILES}, at most ${process.env.INPUT_MAX_WARNINGS} warnings`)
fs.appendFileSync(process.env.GITHUB_OUTPUT, 'count=5\n')
