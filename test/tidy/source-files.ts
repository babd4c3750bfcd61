// The repository's own source files and what they import, for the rules that hold them.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

export const root = resolve(import.meta.dirname, '../..')

export interface SourceFile {
  /** Path from the root, with forward slashes. */
  readonly path: string
  readonly text: string
  /** Own files by their path from the root, packages by their specifier. */
  readonly imports: readonly string[]
}

const folders = ['shared', 'supernode', 'dfdaemon', 'cli', 'scripts', 'test']

export function readSourceFiles(): SourceFile[] {
  return folders
    .flatMap(folder => listFiles(join(root, folder), '.ts'))
    .map(file => {
      const path = relative(root, file).replaceAll('\\', '/')
      const text = readFileSync(file, 'utf8')
      return { path, text, imports: findImports(path, text) }
    })
}

export function listFiles(directory: string, ending: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter(entry => entry.isFile() && entry.name.endsWith(ending))
    .map(entry => join(entry.parentPath, entry.name))
    .filter(file => !file.includes('node_modules'))
    .sort()
}

function findImports(path: string, text: string): string[] {
  const found = text.matchAll(/(?:\bfrom\s+|\bimport\s*\(\s*|^import\s+)'([^']+)'/gm)
  return [...found].map(([, specifier]) =>
    specifier!.startsWith('.') ? join(dirname(path), specifier!).replaceAll('\\', '/') : specifier!,
  )
}
