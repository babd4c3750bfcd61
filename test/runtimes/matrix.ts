// What works with what: each way a runtime can be told of the dfdaemon, by how the registry wants to be spoken to. The tests run every row,
// and docs/runtimes.md shows them (`npm run docs`). Pure.

export const auths = ['anonymous', 'basic', 'token'] as const
export const schemes = ['HTTP', 'TLS'] as const

export type Auth = (typeof auths)[number]
export type Scheme = (typeof schemes)[number]

/** Whose word the image is when the dfdaemon is down. */
export type Fallback =
  | { readonly to: 'registry' | 'Docker Hub' }
  /** The pull fails, and why it cannot be otherwise. */
  | { readonly to: 'nothing'; readonly why: string }

export interface Way {
  readonly id: string
  readonly runtime: string
  /** How the runtime is told. */
  readonly told: string
  /** The test that runs its rows, in test/runtimes. */
  readonly file: string
  readonly down: Fallback
  /** Rows that fall back otherwise, by `auth scheme`. */
  readonly downOf?: Readonly<Partial<Record<`${Auth} ${Scheme}`, Fallback>>>
  /** Rows that cannot work, and why. */
  readonly closed?: Readonly<Partial<Record<`${Auth} ${Scheme}`, string>>>
}

export interface Row {
  readonly way: Way
  readonly auth: Auth
  readonly scheme: Scheme
  readonly title: string
  readonly down: Fallback
  /** Why there is nothing to test; undefined if it works. */
  readonly closed: string | undefined
}

const overTls: Fallback = {
  to: 'nothing',
  why: 'containerd tries a registry that no file names over TLS only',
}

export const ways: readonly Way[] = [
  {
    id: 'ctr-named',
    runtime: 'containerd, by `ctr`',
    told: 'hosts.toml of the registry',
    file: 'containerd.test.ts',
    down: { to: 'registry' },
  },
  {
    id: 'ctr-default',
    runtime: 'containerd, by `ctr`',
    told: 'hosts.toml of `_default`',
    file: 'containerd.test.ts',
    down: { to: 'registry' },
    downOf: { 'anonymous HTTP': overTls, 'basic HTTP': overTls, 'token HTTP': overTls },
  },
]

/** @throws TypeError for an id that no way has */
export function findWay(id: string): Way {
  const way = ways.find(candidate => candidate.id === id)
  if (way === undefined) throw new TypeError(`no way is called ${id}`)
  return way
}

export function rowsOf(way: Way): Row[] {
  return auths.flatMap(auth =>
    schemes.map(scheme => {
      const key = `${auth} ${scheme}` as const
      const title = `${way.runtime}, ${way.told}: ${auth}, ${scheme}`
      return { way, auth, scheme, title, down: way.downOf?.[key] ?? way.down, closed: way.closed?.[key] }
    }),
  )
}
