// What works with what: each way a runtime can be told of the dfdaemon, by how the registry wants to be spoken to. The tests run every row,
// and docs/runtimes.md shows them (`npm run docs`). Pure.

/** What the registry asks for; `public`: a token, which anybody gets for the repository. */
export type Auth = 'anonymous' | 'public' | 'basic' | 'token'
export type Scheme = 'HTTP' | 'TLS'
export type Case = `${Auth} ${Scheme}`

export const allCases: readonly Case[] = [
  'anonymous HTTP',
  'anonymous TLS',
  'basic HTTP',
  'basic TLS',
  'token HTTP',
  'token TLS',
  'public TLS',
]

/** Cases in which GET /v2/ must show the registry's own challenge; not those in which anybody gets a token: the dfdaemon gets one itself. */
const withChallenge: readonly Case[] = ['basic HTTP', 'basic TLS', 'token HTTP', 'token TLS']

/** How a pull ends: with the image from Pantala, from the registry without it, or not at all. */
export type Outcome =
  | { readonly from: 'Pantala' }
  | { readonly from: 'the registry' | 'Docker Hub'; readonly why?: string }
  | { readonly from: 'nowhere'; readonly why: string }

/** What a runtime does when the dfdaemon is killed while it sends. */
export type WhenKilled =
  /** Asks the registry for the rest of the blob. */
  | 'goes on at the registry'
  /** Asks the dfdaemon for the rest, 5 s later; if that is not back after 75 s, the pull ends as it does with the dfdaemon down. */
  | 'goes on after 5 s'
  /** The pull fails; the next one ends as it does with the dfdaemon down. */
  | 'fails'

export interface Way {
  readonly id: string
  readonly runtime: string
  /** How the runtime is told. */
  readonly told: string
  /** The test that runs its rows, in test/runtimes. */
  readonly file: string
  /** All of them unless told otherwise. */
  readonly cases?: readonly Case[]
  /** How a pull ends while the dfdaemon is down. */
  readonly down: Outcome
  readonly downOf?: Readonly<Partial<Record<Case, Outcome>>>
  /** How pulls end that do not go through Pantala, though the dfdaemon runs. */
  readonly upOf?: Readonly<Partial<Record<Case, Outcome>>>
  /** Undefined: as the same runtime told otherwise. */
  readonly killed?: WhenKilled
}

export interface Row {
  readonly way: Way
  readonly auth: Auth
  readonly scheme: Scheme
  readonly title: string
  readonly up: Outcome
  readonly down: Outcome
}

const fromRegistry: Outcome = { from: 'the registry' }
const overTls: Outcome = {
  from: 'nowhere',
  why: 'containerd speaks TLS to a registry for which no hosts.toml says otherwise.',
}
const ownName: Outcome = { from: 'nowhere', why: 'The image is named after the dfdaemon’s address.' }
const noWayRound: Outcome = { from: 'nowhere', why: 'A proxy has no way round.' }
const challengeOfAnother =
  'docker, podman, buildah and skopeo learn what to log in with from `GET /v2/`, which names no registry: behind a port of several registries they get the challenge of `upstreams.default`.'

export const ways: readonly Way[] = [
  {
    id: 'docker-mirror',
    runtime: 'docker',
    told: '`registry-mirrors`, for Docker Hub',
    file: 'docker.test.ts',
    cases: ['public TLS', 'token TLS'],
    down: { from: 'Docker Hub' },
    killed: 'goes on after 5 s',
  },
  {
    id: 'docker-name',
    runtime: 'docker',
    told: 'the registry in the name, after the dfdaemon’s address',
    file: 'docker.test.ts',
    down: ownName,
    killed: 'goes on after 5 s',
    upOf: outcomes(withChallenge, { from: 'nowhere', why: challengeOfAnother }),
  },
  {
    id: 'docker-port',
    runtime: 'docker',
    told: 'a port of the registry’s own, in the name',
    file: 'docker.test.ts',
    down: ownName,
  },
  {
    id: 'docker-proxy',
    runtime: 'docker',
    told: '`HTTP_PROXY` and `HTTPS_PROXY`',
    file: 'docker.test.ts',
    down: noWayRound,
  },
  {
    id: 'ctr-named',
    runtime: 'containerd, by `ctr`',
    told: 'hosts.toml of the registry',
    file: 'containerd.test.ts',
    down: fromRegistry,
    killed: 'goes on at the registry',
  },
  {
    id: 'ctr-default',
    runtime: 'containerd, by `ctr`',
    told: 'hosts.toml of `_default`',
    file: 'containerd.test.ts',
    down: fromRegistry,
    downOf: outcomes(['anonymous HTTP', 'basic HTTP', 'token HTTP'], overTls),
  },
  {
    id: 'cri',
    runtime: 'containerd, by CRI as Kubernetes does',
    told: 'hosts.toml of the registry',
    file: 'containerd.test.ts',
    down: fromRegistry,
    killed: 'goes on at the registry',
  },
  ...['podman', 'buildah', 'skopeo'].flatMap((command): Way[] => [
    {
      id: `${command}-path`,
      runtime: command,
      told: 'registries.conf, the registry in the mirror’s path',
      file: 'image-tools.test.ts',
      down: fromRegistry,
      killed: 'fails',
      upOf: outcomes(withChallenge, { from: 'the registry', why: challengeOfAnother }),
    },
    {
      id: `${command}-port`,
      runtime: command,
      told: 'registries.conf, a port of the registry’s own',
      file: 'image-tools.test.ts',
      down: fromRegistry,
    },
  ]),
]

/** @throws TypeError for an id that no way has */
export function findWay(id: string): Way {
  const way = ways.find(candidate => candidate.id === id)
  if (way === undefined) throw new TypeError(`no way is called ${id}`)
  return way
}

export function rowsOf(way: Way): Row[] {
  return (way.cases ?? allCases).map(key => {
    const [auth, scheme] = key.split(' ') as [Auth, Scheme]
    const up = way.upOf?.[key] ?? { from: 'Pantala' }
    return { way, auth, scheme, title: `${auth}, ${scheme}`, up, down: way.downOf?.[key] ?? way.down }
  })
}

function outcomes(cases: readonly Case[], outcome: Outcome): Partial<Record<Case, Outcome>> {
  return Object.fromEntries(cases.map(key => [key, outcome]))
}
