// The network lab: a cluster in network namespaces whose links are limited both ways, against the least that physics allows and against direct pulls.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { findCommand } from '../../harness/packages.ts'
import { buildBundle } from '../bundle.ts'
import { atMost, type Goal, type Lab, type LabWish } from '../lab.ts'
import { PageCache } from '../page-cache.ts'
import { Namespaces } from './namespaces.ts'
import { renderSwarm, swarmPlots } from './report.ts'
import { type SwarmFigures, zoneOf } from './run.ts'
import { parseAmount, type Scenario, scenarios, shortScenarios } from './scenarios.ts'
import { CONTROL_NUMBER, REGISTRY_NUMBER, SUPERNODE_NUMBER } from './swarm-cluster.ts'

export interface SwarmLabFigures {
  readonly runs: readonly SwarmFigures[]
}

export const swarmLab: Lab<SwarmLabFigures> = {
  name: 'swarm',
  summary: 'Hosts, supernode and registry in network namespaces, every link limited both ways',
  options: {
    scenario: {
      default: 'all',
      short: 'short',
      meaning: 'all, short, some by their names with ; between, or own: what the options below say',
    },
    hosts: { default: '8', meaning: 'hosts (own)' },
    rate: { default: '200mbit', meaning: 'rate of every link, each way (own)' },
    up: { default: '', meaning: 'rate of the uplinks of hosts, where it differs (own)' },
    image: { default: '256MiB', meaning: 'size of the image (own)' },
    layers: { default: '4', meaning: 'layers of the image (own)' },
    start: { default: 'together', meaning: 'together, staggered or waves of 20 % (own)' },
    slow: { default: '', meaning: 'the last host is slower by this (own)' },
    thin: { default: '', meaning: 'rate of the link between two zones (own)' },
    churn: { default: 'no', meaning: 'yes: a host is killed half-way and started again (own)' },
    direct: { default: 'yes', meaning: 'yes: direct pulls in the same run (own)' },
    'page-cache': { default: 'yes', short: 'no', meaning: 'yes: it is filled before each run' },
    profile: { default: '', meaning: 'directory for CPU profiles of all services (own)' },
  },
  whyNot: () => {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs Linux and root'
    const missing = ['ip', 'tc', 'docker-registry'].filter(command => findCommand(command) === undefined)
    return missing.length === 0
      ? undefined
      : `${missing.join(', ')} not found (Debian: iproute2, docker-registry)`
  },
  run: async (wish, say) => {
    const chosen = chooseScenarios(wish)
    await buildBundle()
    const cache = wish['page-cache'] === 'yes' ? await PageCache.make() : undefined
    try {
      return { runs: await playAll(chosen, cache, say) }
    } finally {
      await cache?.remove()
    }
  },
  judge,
  render: renderSwarm,
  plots: swarmPlots,
}

async function playAll(
  chosen: readonly Scenario[],
  cache: PageCache | undefined,
  say: (line: string) => void,
): Promise<SwarmFigures[]> {
  const runs: SwarmFigures[] = []
  for (const scenario of chosen) {
    say(`swarm: ${scenario.name}`)
    await cache?.fill()
    const run = await playScenario(scenario)
    runs.push(run)
    say(`  last / bound ${run.lastOverBound.toFixed(2)}, seed sent ${run.seedUploadRatio.toFixed(2)} images`)
  }
  return runs
}

function chooseScenarios(wish: LabWish): readonly Scenario[] {
  const { scenario } = wish
  // An option that is set says that an own scenario is meant.
  const own = Object.entries(swarmLab.options).some(
    ([name, option]) => name !== 'scenario' && name !== 'page-cache' && wish[name] !== option.default,
  )
  if (own || scenario === 'own') return [ownScenario(wish)]
  if (scenario === 'all') return scenarios
  if (scenario === 'short') return shortScenarios
  return scenario!.split(';').map(name => {
    const found = scenarios.find(one => one.name === name.trim())
    if (found === undefined)
      throw new Error(`no scenario ${name}; there are ${scenarios.map(one => one.name).join('; ')}`)
    return found
  })
}

function ownScenario(wish: LabWish): Scenario {
  const amount = (text: string | undefined) =>
    text === '' || text === undefined ? undefined : parseAmount(text)
  const start = wish['start']
  if (start !== 'together' && start !== 'staggered' && start !== 'waves') throw new Error(`--start ${start}`)
  return {
    name: 'own',
    hosts: Number(wish['hosts']),
    rate: parseAmount(wish['rate']!),
    upRate: amount(wish['up']),
    imageBytes: parseAmount(wish['image']!),
    layers: Number(wish['layers']),
    start,
    slowBy: wish['slow'] === '' ? undefined : Number(wish['slow']),
    thinRate: amount(wish['thin']),
    churn: wish['churn'] === 'yes',
    direct: wish['direct'] === 'yes',
    profileDirectory: wish['profile'] || undefined,
  }
}

/** Makes the namespaces, plays the scenario inside, removes them whatever happens. */
async function playScenario(scenario: Scenario): Promise<SwarmFigures> {
  Namespaces.removeStale()
  const namespaces = new Namespaces(process.pid)
  const close = () => namespaces.close()
  const onSignal = () => {
    close()
    process.exit(130)
  }
  process.once('SIGINT', onSignal)
  process.once('SIGTERM', onSignal)
  try {
    namespaces.open(scenario.thinRate)
    namespaces.addNode('reg', REGISTRY_NUMBER)
    namespaces.addNode('sn', SUPERNODE_NUMBER)
    namespaces.addNode('ctl', CONTROL_NUMBER)
    for (let number = 1; number <= scenario.hosts; number++)
      namespaces.addNode(`h${number}`, number, zoneOf(scenario, number))
    return await runInside(namespaces, scenario)
  } finally {
    close()
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

function runInside(namespaces: Namespaces, scenario: Scenario): Promise<SwarmFigures> {
  const program = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'run.ts'),
  ]
  const [command, ...args] = [...namespaces.prefix('ctl'), ...program] as [string, ...string[]]
  const all = [...args, String(process.pid), JSON.stringify(scenario)]
  return new Promise((resolve, reject) => {
    execFile(command, all, { maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error !== null) reject(new Error(`${scenario.name}: ${stderr}${stdout}`.trim(), { cause: error }))
      else resolve(JSON.parse(stdout.trim().split('\n').at(-1)!) as SwarmFigures)
    })
  })
}

function judge({ runs }: SwarmLabFigures): Goal[] {
  const find = (name: string) => runs.find(run => run.scenario.name === name)
  const goals: Goal[] = []
  const one = find('one host')
  const together = find('8 hosts together')
  const four = find('4 hosts, 50 Mbit/s')
  const sixteen = find('16 hosts, 50 Mbit/s')
  const slow = find('one host 10x slower')
  const zones = find('two zones, thin link')
  if (together !== undefined) {
    goals.push(
      atMost('last of 8 hosts / bound, 256 MiB in 4 layers, 200 Mbit/s', together.lastOverBound, 1.15, '×'),
    )
    goals.push(atMost('upload per host, 8 equal links, max / mean', together.uploadMaxOverMean, 1.5, '×'))
  }
  if (sixteen !== undefined)
    goals.push(atMost('last of 16 hosts / bound, 50 Mbit/s', sixteen.lastOverBound, 1.2, '×'))
  if (four !== undefined && sixteen !== undefined)
    goals.push(
      atMost('growth from 4 to 16 hosts', (sixteen.times.last / four.times.last - 1) * 100, 10, '%', 1),
    )
  if (slow !== undefined)
    goals.push(atMost('one host 10x slower: last of the others / bound', slow.lastOverBound, 1.25, '×'))
  if (zones?.thinRatio !== undefined)
    goals.push(
      atMost(
        'two zones: bytes over the thin link / image',
        Math.max(zones.thinRatio.there, zones.thinRatio.back),
        1.2,
        '×',
      ),
    )
  const source = Math.max(...runs.filter(run => run.scenario.churn !== true).map(run => run.sourceRatio))
  goals.push(atMost('source bytes / image, largest of all runs', source, 1.01, '×', 3))
  if (one?.direct !== undefined)
    goals.push(atMost('cold pull by one host against direct', one.times.last / one.direct.last, 1.05, '×', 3))
  return goals
}
