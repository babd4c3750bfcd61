// A directory that stands for / in tests of `pantala setup`: filled from texts, set up and undone, and compared byte for byte.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import type { ConfigView, PlannedFile, RuntimeName, SetupOptions } from '../../cli/setup/plan.ts'
import { RootedFiles } from '../../cli/setup/rooted-files.ts'
import { runSetup, type SetupResult } from '../../cli/setup/run-setup.ts'
import { applyEdits } from '../../cli/setup/text/text-edits.ts'
import { makeTestDirectory } from './test-directory.ts'

export const dfdaemonUrl = 'http://127.0.0.1:65001'

export const plainOptions: SetupOptions = { dfdaemon: dfdaemonUrl, registries: [], mirrors: true }

export class SetupRoot {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  write(files: Readonly<Record<string, string | Buffer>>): this {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(this.place(path)), { recursive: true })
      writeFileSync(this.place(path), content)
    }
    return this
  }

  place(path: string): string {
    return join(this.path, path)
  }

  read(path: string): string {
    return readFileSync(this.place(path), 'utf8')
  }

  has(path: string): boolean {
    return existsSync(this.place(path))
  }

  setup(runtime: RuntimeName, options: Partial<SetupOptions> = {}, files = this.files()): SetupResult {
    return runSetup({ runtime, files, options: { ...plainOptions, ...options }, dryRun: false, force: false })
  }

  undo(runtime: RuntimeName, force = false, files = this.files()): SetupResult {
    return runSetup({ runtime, files, options: undefined, dryRun: false, force })
  }

  files(): RootedFiles {
    return new RootedFiles(this.path)
  }

  /** Every file, link and directory with its rights and bytes; `under` limits it. */
  snapshot(under = '/'): Record<string, string> {
    const all: Record<string, string> = {}
    const walk = (path: string): void => {
      const stats = lstatSync(this.place(path))
      const mode = (stats.mode & 0o7777).toString(8)
      if (stats.isSymbolicLink()) all[path] = `link ${readlinkSync(this.place(path))}`
      else if (stats.isFile()) all[path] = `${mode} ${readFileSync(this.place(path)).toString('base64')}`
      else if (stats.isDirectory()) {
        all[path] = `${mode} directory`
        for (const name of readdirSync(this.place(path)).sort()) walk(join(path, name))
      } else all[path] = 'other'
    }
    walk(under)
    return all
  }
}

export async function makeSetupRoot(
  t: TestContext,
  files: Readonly<Record<string, string | Buffer>> = {},
): Promise<SetupRoot> {
  return new SetupRoot(await makeTestDirectory(t, 'setup')).write(files)
}

/** Files in memory, as planners see them. */
export function viewOf(files: Readonly<Record<string, string>>): ConfigView {
  return {
    read: path => (Object.hasOwn(files, path) ? files[path] : undefined),
    list(directory) {
      const inside = Object.keys(files).filter(path => path.startsWith(`${directory}/`))
      return [...new Set(inside.map(path => path.slice(directory.length + 1).split('/')[0]!))].sort()
    },
  }
}

/** What a planned file comes to hold. */
export function contentOf(file: PlannedFile | undefined): string | undefined {
  return file && applyEdits(file.before ?? '', file.edits)
}
