// Whatever configuration was there: setting up twice is setting up once, undoing brings back every byte, and a refusal leaves every byte.
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { stringify } from 'smol-toml'
import type { RuntimeName, SetupOptions } from '../../cli/setup/plan.ts'
import { isPantalaError } from '../../shared/errors.ts'
import { SetupRoot, dfdaemonUrl as url } from '../harness/setup-root.ts'

const directory = await mkdtemp(join(tmpdir(), 'pantala-setup-'))
after(() => rmSync(directory, { recursive: true }))

/** Spacing that editors, other systems and other programs leave. */
const dressing = fc.record({
  crlf: fc.boolean(),
  mark: fc.boolean(),
  cut: fc.boolean(),
  lead: fc.constantFrom('', '\n', '# of the site\n', '# a\n\n# b\n'),
})

function dress(
  text: string,
  { crlf, mark, cut, lead }: { crlf: boolean; mark: boolean; cut: boolean; lead: string },
): string {
  const whole = lead + (cut ? text.trimEnd() : text)
  return (mark ? '\uFEFF' : '') + (crlf ? whole.replaceAll('\n', '\r\n') : whole)
}

const json = fc
  .tuple(
    fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 }),
    fc.option(fc.array(fc.webUrl(), { maxLength: 3 }), { nil: undefined }),
    fc.option(fc.dictionary(fc.constantFrom('http-proxy', 'https-proxy', 'no-proxy'), fc.string()), {
      nil: undefined,
    }),
    fc.boolean(),
    fc.constantFrom(undefined, 1, 2, 4, '\t'),
    dressing,
  )
  .map(([rest, mirrors, proxies, store, space, dressed]) => {
    const document = {
      ...rest,
      ...(mirrors === undefined ? {} : { 'registry-mirrors': mirrors }),
      ...(proxies === undefined ? {} : { proxies }),
      ...(store ? { features: { 'containerd-snapshotter': true } } : {}),
    }
    return dress(`${JSON.stringify(document, undefined, space)}\n`, { ...dressed, lead: '' })
  })

const images = 'plugins."io.containerd.grpc.v1.cri"'
/** Pieces that files are made of, in any order that is valid. */
const configPieces = [
  `[${images}]\n  sandbox_image = "pause:3.9" # c\n`,
  `  [${images}.registry]\n    config_path = ""\n`,
  `[${images}.registry]\n`,
  `[${images}.registry.mirrors]\n`,
  `[${images}.registry.mirrors."docker.io"]\n  endpoint = ["https://m"]\n`,
  `[${images}.registry.configs."a".auth]\n\tusername = "x"\n`,
  `[${images}.registry.headers]\n  a = ["""\n[b]""", 'c']\n`,
  `[${images}.containerd.runtimes.runc.options]\n  SystemdCgroup = true\n`,
  '[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/opt/certs:/x"\n',
  "[plugins.cri]\nregistry.config_path = ''\n",
  '# [comment]\n',
  '\n',
]
const hostPieces = [
  '[host."https://mirror.corp"]\n  capabilities = ["pull"]\n',
  '# the second\n[host."https://b".header]\n\tx-a = "b"\n',
  '[host]\n',
  `[host."${url}"]\n`,
  '\n',
]
const registryPieces = [
  '[[registry]]\nlocation = "docker.io"\n',
  '[[registry]]\nprefix = "quay.io"\nlocation = "quay.io"\n\n  [[registry.mirror]]\n  location = "m.corp"\n',
  '  [[registry]]\n  prefix = "*.io"\n  insecure = true\n',
  '[[registry]]\nlocation = "quay.io/team"\nblocked = true\n',
  '[aliases]\n"a" = "docker.io/library/a"\n',
  '# [[registry]]\n',
]
const tables = fc.dictionary(
  fc.string({ minLength: 1 }).map(key => `x${key}`),
  fc.oneof(fc.string(), fc.integer(), fc.dictionary(fc.string({ minLength: 1 }), fc.string())),
  { maxKeys: 3 },
)

const toml = (tops: readonly string[], pieces: readonly string[]) =>
  fc
    .tuple(fc.constantFrom(...tops), fc.shuffledSubarray([...pieces]), tables, dressing)
    .map(([top, some, rest, dressed]) => {
      const { lead, ...others } = dressed
      return dress(
        lead +
          top +
          some.join('') +
          stringify(rest).replace(/^(?!\[)/, rest && some.length > 0 ? '[extra]\n' : ''),
        { ...others, lead: '' },
      )
    })

const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 5 })

const host = fc.record({
  '/etc/docker/daemon.json': maybe(json),
  '/etc/containerd/config.toml': maybe(
    toml(['version = 2\n', 'version = 3\n', 'version = 1\n', ''], configPieces),
  ),
  '/etc/containerd/certs.d/_default/hosts.toml': maybe(toml(['', 'server = "https://a"\n'], hostPieces)),
  '/etc/containerd/certs.d/registry.lab_5000_/hosts.toml': maybe(toml([''], hostPieces)),
  '/etc/docker/certs.d/registry.lab:5000/ca.crt': maybe(fc.constant('PEM')),
  '/etc/containers/registries.conf': maybe(
    toml(['unqualified-search-registries = ["a.io"]\n', ''], registryPieces),
  ),
  '/etc/containers/registries.conf.d/99-site.conf': maybe(toml([''], registryPieces)),
})

const registries = fc.shuffledSubarray([{ name: 'docker.io' }, { name: 'quay.io' }, { name: 'registry.lab' }])
const wishes = fc.record<Partial<SetupOptions>>(
  {
    registries,
    proxy: fc.constant(url),
    caPem: fc.constant('PEM\n'),
    dfdaemon: fc.constantFrom(url, 'http://127.0.0.1:7000'),
  },
  { requiredKeys: ['registries', 'dfdaemon'] },
)

const runtimes = ['docker', 'containerd', 'podman', 'crio'] as const

let count = 0
let done = 0

function makeRoot(files: Record<string, string | undefined>): SetupRoot {
  const present = Object.entries(files).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return new SetupRoot(join(directory, `${count++}`)).write({
    '/etc/host': 'x',
    ...Object.fromEntries(present),
  })
}

/** Undefined: refused, as some hosts must be. */
function trySetup(root: SetupRoot, runtime: RuntimeName, wish: Partial<SetupOptions>): number | undefined {
  const before = root.snapshot()
  try {
    done++
    return root.setup(runtime, wish).changes.length
  } catch (error) {
    if (!isPantalaError(error)) throw error
    done--
    assert.deepEqual(root.snapshot(), before, 'a refusal leaves everything')
    return undefined
  }
}

test('setup, setup again, undo', { timeout: 110_000 }, () => {
  fc.assert(
    fc.property(host, fc.constantFrom(...runtimes), wishes, (files, runtime, wish) => {
      const root = makeRoot(files)
      const before = root.snapshot()
      if (trySetup(root, runtime, wish) !== undefined) {
        const set = root.snapshot()
        assert.equal(trySetup(root, runtime, wish), 0)
        assert.deepEqual(root.snapshot(), set)
        root.undo(runtime)
        assert.deepEqual(root.snapshot(), before)
      }
      rmSync(root.path, { recursive: true })
    }),
    { numRuns: 80 },
  )
  assert.ok(done > 80, `only ${done} set-ups were not refused: the hosts are too strange to show anything`)
})

test('any order of set-ups with any wishes, all undone, is as if nothing had been', {
  timeout: 110_000,
}, () => {
  const steps = fc.array(fc.tuple(fc.constantFrom(...runtimes), fc.option(wishes, { nil: undefined })), {
    maxLength: 6,
  })
  fc.assert(
    fc.property(host, steps, (files, all) => {
      const root = makeRoot(files)
      const before = root.snapshot()
      for (const [runtime, wish] of all) {
        if (wish === undefined) root.undo(runtime)
        else trySetup(root, runtime, wish)
      }
      for (const runtime of runtimes) root.undo(runtime)
      assert.deepEqual(root.snapshot(), before)
      rmSync(root.path, { recursive: true })
    }),
    { numRuns: 80 },
  )
})

test('what others append meanwhile is there after the undo, and Pantala’s part is not', {
  timeout: 110_000,
}, () => {
  const appended = '\n[theirs]\n  a = "b" # c\n'
  const paths = ['/etc/containerd/config.toml', '/etc/containerd/certs.d/_default/hosts.toml']
  fc.assert(
    fc.property(host, files => {
      const root = makeRoot(files)
      if (trySetup(root, 'containerd', {}) !== undefined) {
        for (const path of paths) if (root.has(path)) root.write({ [path]: root.read(path) + appended })
        root.undo('containerd')
        for (const path of paths) {
          const before = files[path as keyof typeof files]
          if (before !== undefined) assert.equal(root.read(path), before + appended)
          else if (root.has(path)) assert.equal(root.read(path), appended)
        }
      }
      rmSync(root.path, { recursive: true })
    }),
    { numRuns: 80 },
  )
})
