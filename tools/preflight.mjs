// Says in plain words that the running Node cannot run this repository, where Node itself would say a syntax error.
// Runs before every npm script, and in no install hook: npm would run that, or warn of it, on every machine that installs
// the published package.
//
// Plain old JavaScript without imports: it has to parse on the very Node that it turns away.
// A version as argument (v16.20.2) is judged in place of the running one; the test uses it.

var needed = '^22.18 || >=24'
var found = process.argv[2] || process.version

var parts = found.slice(1).split('.')
var major = Number(parts[0])
var minor = Number(parts[1])

if (!(major >= 24 || (major === 22 && minor >= 18))) {
  console.error(`pabal needs Node ${needed}, and this is Node ${found} (${process.execPath}).
Run \`npm ci\` without --ignore-scripts, so that the pinned Node is installed, and use the npm scripts
(\`npm test\`, \`npm start\`): they run on it.`)
  process.exit(1)
}
