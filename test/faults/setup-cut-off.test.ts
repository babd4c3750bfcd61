// A set-up, a second one or an undo is cut off at every single change it makes to the disk: what is left can be undone to the last byte, or finished.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FileToWrite, RootedFiles } from '../../cli/setup/rooted-files.ts'
import { makeSetupRoot, type SetupRoot } from '../harness/setup-root.ts'

/** Does so many changes, then none any more, not even to put things back: as if the machine had stopped. */
class StoppingFiles extends RootedFiles {
  #left: number
  stopped = false

  constructor(root: string, left: number) {
    super(root)
    this.#left = left
  }

  override write(path: string, file: FileToWrite): void {
    this.#count()
    super.write(path, file)
  }

  override remove(path: string): void {
    this.#count()
    super.remove(path)
  }

  override makeDirectory(path: string, mode: number, made: string[]): void {
    if (!this.hasDirectory(path)) this.#count()
    super.makeDirectory(path, mode, made)
  }

  override removeEmptyDirectory(path: string): void {
    this.#count()
    super.removeEmptyDirectory(path)
  }

  #count(): void {
    if (this.#left-- > 0) return
    this.stopped = true
    throw new Error('the machine stopped')
  }
}

const site = {
  '/etc/docker/daemon.json': '{"debug": true}',
  '/etc/docker/certs.d/registry.lab/ca.crt': 'PEM\n',
  '/var/lib/pantala/dfdaemon/blobs': 'x',
}
const first = { containerdStore: true }
const second = {
  containerdStore: true,
  registries: [{ name: 'registry.lab' }],
  dfdaemon: 'http://127.0.0.1:7000',
}

type Act = (root: SetupRoot, files?: RootedFiles) => unknown

const stories: Readonly<Record<string, { readonly before: readonly Act[]; readonly act: Act }>> = {
  'a first set-up': { before: [], act: (root, files) => root.setup('docker', first, files) },
  'a second set-up': {
    before: [root => root.setup('docker', first)],
    act: (root, files) => root.setup('docker', second, files),
  },
  'an undo': {
    before: [root => root.setup('docker', first), root => root.setup('docker', second)],
    act: (root, files) => root.undo('docker', false, files),
  },
}

for (const [name, { before, act }] of Object.entries(stories)) {
  test(`${name} that is cut off`, async t => {
    const make = async (): Promise<SetupRoot> => {
      const root = await makeSetupRoot(t, site)
      for (const one of before) one(root)
      return root
    }
    const plain = (await makeSetupRoot(t, site)).snapshot()
    const whole = await make()
    act(whole)
    let cuts = 0
    for (let changes = 0; ; changes++) {
      const root = await make()
      const files = new StoppingFiles(root.path, changes)
      try {
        act(root, files)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'SETUP_UNWRITABLE')
      }
      if (!files.stopped) break
      cuts++
      if (changes % 2 === 0) {
        act(root)
        assert.deepEqual(root.snapshot('/etc'), whole.snapshot('/etc'), `finished after ${changes} changes`)
      }
      root.undo('docker')
      assert.deepEqual(
        root.snapshot('/etc'),
        plain['/etc'] && sliceOf(plain, '/etc'),
        `undone after ${changes} changes`,
      )
      assert.deepEqual(
        root.snapshot('/var/lib/pantala/dfdaemon'),
        sliceOf(plain, '/var/lib/pantala/dfdaemon'),
      )
    }
    assert.ok(cuts > 5, `only ${cuts} changes`)
  })
}

function sliceOf(snapshot: Record<string, string>, under: string): Record<string, string> {
  return Object.fromEntries(Object.entries(snapshot).filter(([path]) => `${path}/`.startsWith(`${under}/`)))
}
