// The images of the chaos tests, made without any registry: a base of the project's Node and the libraries it needs, on it the last stage of
// the Dockerfile as users build it, a variant that sends wrong bytes to its children, the distribution's registry, and a faulty front for it.
import { chmod, cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { build, type Plugin } from 'esbuild'
import { runCommand } from '../harness/container-engines.ts'
import { findCommand } from '../harness/packages.ts'
import type { Engine } from './engine.ts'

const root = join(import.meta.dirname, '../..')

export const images = {
  base: 'pantala-base',
  pantala: 'pantala-chaos',
  corrupting: 'pantala-corrupting',
  registry: 'registry-chaos',
  front: 'front-chaos',
} as const

/** Builds all of them; `directory` is empty and the test's own. */
export async function buildImages(engine: Engine, directory: string): Promise<void> {
  const dist = join(directory, 'pantala', 'dist')
  await runCommand(process.execPath, [join(root, 'scripts', 'build.ts'), '--out', dist])
  await importBase(engine, join(directory, 'base'), dist)
  await buildPantala(engine, join(directory, 'pantala'))
  await buildCorrupting(engine, join(directory, 'corrupting'))
  await buildRegistry(engine, join(directory, 'registry'))
  await buildFront(engine, join(directory, 'front'))
}

/** What a slim base has for this purpose: node, the libraries it and the native packages need, a place for temporary files. */
async function importBase(engine: Engine, rootfs: string, dist: string): Promise<void> {
  await copyProgram(process.execPath, join(rootfs, 'usr/local/bin/node'), rootfs)
  const files = await readdir(dist, { recursive: true })
  // Those for other systems name libraries that are not here, and are never loaded.
  for (const file of files.filter(name => name.endsWith('.node')))
    await copyLibraries(join(dist, file), rootfs).catch(() => {})
  await mkdir(join(rootfs, 'tmp'))
  await chmod(join(rootfs, 'tmp'), 0o1777)
  await importTree(engine, rootfs, images.base)
}

async function copyProgram(program: string, to: string, rootfs: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true })
  await cp(program, to, { dereference: true })
  await copyLibraries(program, rootfs)
}

/** Copies the shared libraries that a program names, each to the path it is looked for. */
async function copyLibraries(program: string, rootfs: string): Promise<void> {
  const { stdout } = await runCommand('ldd', [program])
  for (const [library] of stdout.matchAll(/\/\S+\.so[.\d]*/g)) {
    await mkdir(join(rootfs, dirname(library)), { recursive: true })
    await cp(library, join(rootfs, library), { dereference: true })
  }
}

async function importTree(engine: Engine, rootfs: string, image: string): Promise<void> {
  const archive = `${rootfs}.tar`
  await runCommand('tar', ['--owner=0', '--group=0', '-C', rootfs, '-cf', archive, '.'])
  await engine.docker('import', archive, image)
}

/**
 * The last stage of the users' Dockerfile, word for word, on the base made here; what it copies out of the stages before lies beside it.
 * Exported for its test.
 */
export function takeLastStage(dockerfile: string): string {
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM ') + 1)
  return last
    .replace(/^FROM .*$/m, `FROM ${images.base}`)
    .replace(/^(COPY) --from=build(.*) (?:\/src)?\/(\w+) (\S+)$/gm, '$1$2 $3 $4')
}

async function buildPantala(engine: Engine, context: string): Promise<void> {
  for (const service of ['dfdaemon', 'supernode'])
    await mkdir(join(context, 'data', service), { recursive: true })
  await writeFile(
    join(context, 'Dockerfile'),
    takeLastStage(await readFile(join(root, 'Dockerfile'), 'utf8')),
  )
  await engine.docker('build', '--tag', images.pantala, context)
}

/** The same program, but for what sends pieces: that part is exchanged while it is bundled, so that nothing of it is in the product. */
async function buildCorrupting(engine: Engine, context: string): Promise<void> {
  await mkdir(context, { recursive: true })
  const exchange: Plugin = {
    name: 'corrupting',
    setup({ onResolve }) {
      onResolve({ filter: /\/piece-send\.ts$/ }, ({ importer }) =>
        basename(importer) === 'corrupting-piece-send.ts'
          ? undefined
          : { path: join(import.meta.dirname, 'corrupting-piece-send.ts') },
      )
    },
  }
  await build({
    entryPoints: [join(root, 'cli', 'main.ts')],
    outfile: join(context, 'pantala.mjs'),
    plugins: [exchange],
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['@napi-rs/blake-hash', 'classic-level', 'pino-pretty'],
    define: { PANTALA_VERSION: '"corrupting"' },
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url), __filename = import.meta.filename, __dirname = import.meta.dirname",
    },
    logLevel: 'error',
  })
  await writeFile(
    join(context, 'Dockerfile'),
    `FROM ${images.pantala}\nCOPY pantala.mjs /opt/pantala/pantala.mjs\n`,
  )
  await engine.docker('build', '--tag', images.corrupting, context)
}

async function buildRegistry(engine: Engine, context: string): Promise<void> {
  const rootfs = join(context, 'rootfs')
  await copyProgram(findCommand('docker-registry')!, join(rootfs, 'registry'), rootfs)
  await mkdir(join(rootfs, 'tmp'))
  await importTree(engine, rootfs, `${images.registry}-base`)
  const config = {
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: '/var/lib/registry' } },
    http: { addr: ':5000' },
  }
  await writeFile(join(context, 'config.yml'), JSON.stringify(config))
  const dockerfile = `FROM ${images.registry}-base
COPY config.yml /config.yml
ENTRYPOINT ["/registry", "serve", "/config.yml"]
`
  await writeFile(join(context, 'Dockerfile'), dockerfile)
  await writeFile(join(context, '.dockerignore'), 'rootfs*\n')
  await engine.docker('build', '--tag', images.registry, context)
}

async function buildFront(engine: Engine, context: string): Promise<void> {
  await mkdir(context, { recursive: true })
  await cp(join(import.meta.dirname, 'front.ts'), join(context, 'front.ts'))
  const dockerfile = `FROM ${images.base}
COPY front.ts /front.ts
ENTRYPOINT ["node", "--disable-warning=ExperimentalWarning", "/front.ts"]
`
  await writeFile(join(context, 'Dockerfile'), dockerfile)
  await engine.docker('build', '--tag', images.front, context)
}
