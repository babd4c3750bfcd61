// Small checkers from which codec.ts builds the table of messages: each takes an unknown value and gives it back typed, or throws.
import { PantalaError } from '../errors.ts'
import { isTaskKey, TASK_KEY_CHARS_MAX, type TaskKey } from '../task-key.ts'

/** Gives `value` back as T. `at` names the field for the message. @throws PantalaError MESSAGE_INVALID */
export type Check<T> = (value: unknown, at: string) => T

export function failCheck(at: string, wanted: string): never {
  throw new PantalaError('MESSAGE_INVALID', { detail: `${at}: ${wanted}` })
}

export function text<T extends string = string>(charsMax: number, pattern?: RegExp): Check<T> {
  return (value, at) => {
    if (typeof value !== 'string' || value.length > charsMax)
      failCheck(at, `text of at most ${charsMax} characters`)
    if (pattern !== undefined && !pattern.test(value)) failCheck(at, 'wrong form')
    return value as T
  }
}

export function word<T extends string>(...words: readonly T[]): Check<T> {
  return (value, at) => {
    if (!words.includes(value as T)) failCheck(at, `one of ${words.join(', ')}`)
    return value as T
  }
}

export function integer(min: number, max: number): Check<number> {
  return (value, at) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max)
      failCheck(at, `whole number from ${min} to ${max}`)
    return value
  }
}

export const flag: Check<boolean> = (value, at) => {
  if (typeof value !== 'boolean') failCheck(at, 'true or false')
  return value
}

export function bytes(min: number, max: number, multipleOf = 1): Check<Uint8Array> {
  return (value, at) => {
    if (!(value instanceof Uint8Array) || value.byteLength < min || value.byteLength > max)
      failCheck(at, `${min} to ${max} bytes`)
    if (value.byteLength % multipleOf !== 0) failCheck(at, `a multiple of ${multipleOf} bytes`)
    return value
  }
}

/** A digest, or what a task is named by. */
export const digest: Check<TaskKey> = (value, at) => {
  if (typeof value !== 'string' || value.length > TASK_KEY_CHARS_MAX || !isTaskKey(value))
    failCheck(at, 'a digest')
  return value
}

export function list<T>(item: Check<T>, max: number): Check<T[]> {
  return (value, at) => {
    if (!Array.isArray(value) || value.length > max) failCheck(at, `list of at most ${max}`)
    for (let index = 0; index < value.length; index++) value[index] = item(value[index], at)
    return value as T[]
  }
}

export function optional<T>(check: Check<T>): Check<T | undefined> {
  return (value, at) => (value === undefined ? undefined : check(value, at))
}

/** A map with these fields; others are dropped, so that a later version may add some. */
export function record<T extends object>(
  fields: { readonly [K in keyof T]-?: Check<T[K]> },
  whole?: (record: T, at: string) => void,
): Check<T> {
  const rows = Object.entries(fields) as [string, Check<unknown>][]
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value))
      failCheck(at, 'a map')
    const found: Record<string, unknown> = {}
    for (const [name, check] of rows) {
      const field = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined
      const checked = check(field, `${at}.${name}`)
      if (checked !== undefined) found[name] = checked
    }
    whole?.(found as T, at)
    return found as T
  }
}
