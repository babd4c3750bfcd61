// What two versions of a document differ in, told by their leaves: the check that an edit changed what it was to change and nothing else.

/** How often each leaf occurs: its path and its value as one string. Order is left out, empty tables and lists as well. */
export type Leaves = ReadonlyMap<string, number>

export interface LeafChange {
  readonly added: readonly string[]
  readonly removed: readonly string[]
}

/** Leaves of JSON or TOML as parsed. An entry of a list of tables is known by its `prefix` or `location`, not by where it stands. */
export function listLeaves(document: unknown): Leaves {
  const leaves = new Map<string, number>()
  addLeaves(leaves, '', document)
  return leaves
}

function addLeaves(leaves: Map<string, number>, path: string, value: unknown): void {
  if (Array.isArray(value)) {
    for (const item of value) addLeaves(leaves, `${path}/${nameOf(item)}`, item)
  } else if (isTable(value)) {
    for (const [key, member] of Object.entries(value))
      addLeaves(leaves, `${path}/${JSON.stringify(key)}`, member)
  } else {
    const leaf = leafOf(path, value)
    leaves.set(leaf, (leaves.get(leaf) ?? 0) + 1)
  }
}

/** A leaf as `listLeaves` writes it; for an item of a list the path ends in `/[]`. */
function leafOf(path: string, value: unknown): string {
  const shown = typeof value === 'bigint' ? `${value}` : (JSON.stringify(value) ?? `${value}`)
  return `${path} = ${shown}`
}

function nameOf(item: unknown): string {
  if (!isTable(item)) return '[]'
  const name = item['prefix'] ?? item['location']
  return typeof name === 'string' ? `[${name}]` : '[]'
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !(value instanceof Date)
}

/** What came and what went from one document to the other, sorted. */
export function compareLeaves(before: Leaves, after: Leaves): LeafChange {
  return { added: subtract(after, before), removed: subtract(before, after) }
}

function subtract(from: Leaves, what: Leaves): string[] {
  const left: string[] = []
  for (const [leaf, count] of from)
    for (let extra = count - (what.get(leaf) ?? 0); extra > 0; extra--) left.push(leaf)
  return left.sort()
}

/** True if the first change is the other one turned round. */
export function isReverse(one: LeafChange, other: LeafChange): boolean {
  const same = (some: readonly string[], others: readonly string[]): boolean =>
    some.length === others.length && some.every((leaf, index) => leaf === others[index])
  return same(one.added, other.removed) && same(one.removed, other.added)
}
