// One TOML file of a runtime: read with its faults named, edited as text, and each edit checked by what the file means afterwards.
import { PantalaError } from '../../../shared/errors.ts'
import { compareLeaves, listLeaves } from '../text/leaves.ts'
import { applyEdits, positionOf, type TextEdit } from '../text/text-edits.ts'
import { listStatements, parseToml, TomlFault, type TomlStatement, type TomlTree } from '../text/toml-text.ts'

export interface TomlFile {
  readonly path: string
  /** Empty if the file is not there. */
  readonly text: string
  readonly tree: TomlTree
  readonly statements: readonly TomlStatement[]
}

/** Tables and lists in one another; dotted keys may make as many as they like, and all that looks at the tree calls itself. */
const DEPTH_MAX = 256

/** @throws PantalaError SETUP_CONFIG_INVALID naming line and column */
export function readTomlFile(path: string, text: string): TomlFile {
  try {
    const tree = parseToml(text)
    if (isDeeperThan(DEPTH_MAX, tree))
      throw new PantalaError('SETUP_CONFIG_INVALID', {
        detail: `${path}: nested deeper than ${DEPTH_MAX}`,
      })
    return { path, text, tree, statements: listStatements(text) }
  } catch (error) {
    if (!(error instanceof TomlFault)) throw error
    throw new PantalaError('SETUP_CONFIG_INVALID', {
      detail: `${path}:${error.line}:${error.column}: ${error.message}`,
      cause: error,
    })
  }
}

function isDeeperThan(depthMax: number, tree: unknown): boolean {
  let level: unknown[] = [tree]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > depthMax) return true
    level = level.flatMap(value => (typeof value === 'object' && value !== null ? Object.values(value) : []))
  }
  return false
}

/**
 * Checks that the edits add and remove just these leaves, written as `listLeaves` does, and returns what the file then means.
 * @throws PantalaError SETUP_CONFLICT if they do not, which is so where a file is written in a way that the edit does not know
 */
export function checkEdits(
  { path, text, tree }: TomlFile,
  edits: readonly TextEdit[],
  wanted: unknown,
): TomlTree {
  const after = parseEdited(applyEdits(text, edits))
  const change = after && compareLeaves(listLeaves(tree), listLeaves(after))
  const wish = compareLeaves(listLeaves(tree), listLeaves(wanted))
  if (after === undefined || JSON.stringify(change) !== JSON.stringify(wish)) {
    throw new PantalaError('SETUP_CONFLICT', {
      detail: `${path} is written in a way that can't be edited safely; it should come to say what docs/setup.md shows`,
    })
  }
  return after
}

function parseEdited(text: string): TomlTree | undefined {
  try {
    return parseToml(text)
  } catch (error) {
    if (error instanceof TomlFault) return undefined
    throw error
  }
}

/** path:line of a place in the file. */
export function placeOf({ path, text }: TomlFile, offset: number): string {
  return `${path}:${positionOf(text, offset).line}`
}
