// Builds what is shipped into dist/ (or --out DIR): the command and its parts, its launcher, and the few packages that cannot be bundled. `npm run build -- --with-node` adds Node itself.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build, type Plugin } from 'esbuild'

const root = join(import.meta.dirname, '..')
const { values: wish } = parseArgs({
  options: { out: { type: 'string', default: join(root, 'dist') }, 'with-node': { type: 'boolean' } },
})
const dist = resolve(wish.out)

/** Native code, and what is loaded only where logs are for people. */
const notBundled = ['@napi-rs/blake-hash', 'classic-level', 'pino-pretty']

/** Files that are of no use at run time. */
const left =
  /\/(test|tests|docs?|deps|src|bench|benchmarks|examples?|\.github)$|\.(md|map|d\.[cm]?ts|gyp|gypi|cc?|h)$/

/** Undici's index loads all that it has; see there. */
const lessOfUndici: Plugin = {
  name: 'less of undici',
  setup: ({ onResolve }) => {
    onResolve({ filter: /^undici$/ }, () => ({ path: join(root, 'scripts', 'undici-in-bundle.mjs') }))
  },
}

await bundle()
copyPackages()
cpSync(join(root, 'cli', 'pantala'), join(dist, 'pantala'))
if (wish['with-node']) {
  cpSync(process.execPath, join(dist, 'node'), { dereference: true })
}

async function bundle(): Promise<void> {
  rmSync(dist, { recursive: true, force: true })
  mkdirSync(dist, { recursive: true })
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  await build({
    entryPoints: [join(root, 'cli', 'main.ts')],
    outdir: dist,
    entryNames: 'pantala',
    chunkNames: 'parts/[name]-[hash]',
    outExtension: { '.js': '.mjs' },
    bundle: true,
    // What is imported late lies in files of its own: a service holds no text of what it never runs, and its
    // parser leaves a smaller hole in the C heap, which is not given back: 7 MB of an idle daemon.
    splitting: true,
    platform: 'node',
    target: 'node22',
    format: 'esm',
    // Names of functions and classes get short too: keeping them as esbuild does (a call for each) costs an idle daemon 14 MiB.
    minify: true,
    legalComments: 'none',
    external: notBundled,
    plugins: [lessOfUndici],
    define: { PANTALA_VERSION: JSON.stringify(version) },
    // CommonJS packages in an ES module need what Node gives only to CommonJS.
    banner: {
      js: [
        "import { createRequire as makeRequire } from 'node:module'",
        'const require = makeRequire(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname',
      ].join('\n'),
    },
    logLevel: 'warning',
  })
}

/** Copies the packages that are not bundled, and all that they need, beside the bundle. */
function copyPackages(): void {
  const wanted = [...notBundled]
  const copied = new Set<string>()
  for (let name = wanted.shift(); name !== undefined; name = wanted.shift()) {
    const from = join(root, 'node_modules', name)
    if (copied.has(name) || !existsSync(from)) continue
    copied.add(name)
    cpSync(from, join(dist, 'node_modules', name), {
      recursive: true,
      dereference: true,
      filter: path => !left.test(path.slice(from.length)),
    })
    const { dependencies, optionalDependencies } = JSON.parse(
      readFileSync(join(from, 'package.json'), 'utf8'),
    ) as { dependencies?: object; optionalDependencies?: object }
    wanted.push(...Object.keys({ ...dependencies, ...optionalDependencies }))
  }
}
