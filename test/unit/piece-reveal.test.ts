// Fresh pieces are told to a few children first, in turn, and to the rest once one has the piece or the time is up.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PieceReveal, type RevealInit } from '../../dfdaemon/upload/piece-reveal.ts'
import type { Clock } from '../../shared/clock.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

function makeReveal(firstChildren: number, init: Omit<RevealInit, 'firstChildren'> = { holdMs: 100 }) {
  const told: string[] = []
  let nowMs = 0
  let longestMs = 0
  let timers: Array<{ task: () => void; cancelled: boolean }> = []
  const clock: Clock = {
    now: () => 0,
    monotonic: () => nowMs,
    after: (delayMs, task) => {
      longestMs = Math.max(longestMs, delayMs)
      const timer = { task, cancelled: false }
      timers.push(timer)
      return {
        cancel: () => {
          timer.cancelled = true
        },
      }
    },
  }
  const reveal = new PieceReveal<string>({ clock }, { firstChildren, ...init }, (piece, to) => {
    for (const child of to) told.push(`${piece}>${child}`)
  })
  const ring = (): void => {
    nowMs += longestMs
    const due = timers
    timers = []
    for (const timer of due) if (!timer.cancelled) timer.task()
  }
  return { reveal, told, ring }
}

test('few children are all told at once', () => {
  const { reveal, told } = makeReveal(2)
  reveal.onFresh(0, ['a', 'b'])
  assert.deepEqual(told, ['0>a', '0>b'])
})

test('what is held back can be told to all at once', () => {
  const { reveal, told, ring } = makeReveal(1)
  reveal.onFresh(0, ['a', 'b', 'c'])
  reveal.onFresh(1, ['a', 'b', 'c'])
  reveal.releaseAll()
  assert.deepEqual(told.toSorted(), ['0>a', '0>b', '0>c', '1>a', '1>b', '1>c'])
  ring()
  assert.equal(told.length, 6)
})

test('children take turns, so that each is first for different pieces', () => {
  const { reveal, told } = makeReveal(1)
  for (const piece of [0, 1, 2, 3]) reveal.onFresh(piece, ['a', 'b', 'c'])
  assert.deepEqual(told, ['0>a', '1>b', '2>c', '3>a'])
})

test('the rest hears when a child has the piece, or when the time is up, once', () => {
  const { reveal, told, ring } = makeReveal(1)
  reveal.onFresh(0, ['a', 'b', 'c'])
  reveal.onFresh(1, ['a', 'b', 'c'])
  told.length = 0
  reveal.onSent(0)
  assert.deepEqual(told, ['0>b', '0>c'])
  ring()
  assert.deepEqual(told, ['0>b', '0>c', '1>a', '1>c'])
  reveal.onSent(1)
  reveal.onSent(7)
  ring()
  assert.equal(told.length, 4)
})

test('of a seed, the child for whom the fewest pieces wait is told first', () => {
  const { reveal, told } = makeReveal(1, { holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 })
  const children = ['a', 'b', 'c']
  for (const piece of [0, 1, 2]) reveal.onFresh(piece, children)
  reveal.onSent(1, 'b')
  reveal.onFresh(3, children)
  assert.deepEqual(told, ['0>a', '1>b', '2>c', '3>b'])
})

test('of a seed, the rest is told a while after the piece went out; what a child did not get when it is gone is dealt to another', () => {
  const { reveal, told, ring } = makeReveal(1, { holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 })
  for (const piece of [0, 1]) reveal.onFresh(piece, ['a', 'b', 'c'])
  told.length = 0
  reveal.onSent(0, 'a')
  assert.deepEqual(told, [])
  reveal.onGone('b')
  assert.deepEqual(told, ['1>a'])
  reveal.onSent(1, 'a')
  ring()
  assert.deepEqual(told.toSorted(), ['0>c', '1>a', '1>c'])
})

test('of a seed, the rest is told step by step, twice as many each time', () => {
  const { reveal, told, ring } = makeReveal(1, { holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 })
  const children = Array.from({ length: 12 }, (_, number) => `c${number}`)
  reveal.onFresh(0, children)
  reveal.onSent(0, 'c0')
  const counts = [1, 3, 7, 12, 12].map((_, step) => {
    if (step > 0) ring()
    return told.length
  })
  assert.deepEqual(counts, [1, 3, 7, 12, 12])
  assert.equal(new Set(told).size, 12)
})

test('of a seed, a child that is done is no reason to send again at once what it got', () => {
  const { reveal, told, ring } = makeReveal(1, { holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 })
  reveal.onFresh(0, ['a', 'b'])
  reveal.onSent(0, 'a')
  told.length = 0
  reveal.onGone('a')
  assert.deepEqual(told, [])
  ring()
  assert.deepEqual(told, ['0>b'])
})

test('of a seed, a child is dealt a few pieces and the next as it gets them', () => {
  const { reveal, told } = makeReveal(1, { holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 })
  for (const piece of [0, 1, 2, 3, 4, 5]) reveal.onFresh(piece, ['a'])
  assert.deepEqual(told, ['0>a', '1>a', '2>a', '3>a'])
  reveal.onSent(0, 'a')
  assert.deepEqual(told.slice(4), ['4>a'])
})

test('of a seed, a newcomer is not told of what others were dealt, and gets of what waits', () => {
  const { reveal, told, ring } = makeReveal(1, { holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 })
  for (const piece of [0, 1, 2, 3, 4]) reveal.onFresh(piece, ['a'])
  told.length = 0
  assert.deepEqual(reveal.onNewcomer('b'), [0, 1, 2, 3, 4])
  assert.deepEqual(told, ['4>b'])
  for (const piece of [0, 1, 2, 3]) reveal.onSent(piece, 'a')
  reveal.onSent(4, 'b')
  ring()
  ring()
  assert.deepEqual(told.toSorted(), ['0>b', '1>b', '2>b', '3>b', '4>a', '4>b'])
})

test('of a seed, nothing is offered a second time while fresh pieces wait to go out', () => {
  const { reveal, told, ring } = makeReveal(1, { holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 })
  for (const piece of [0, 1]) reveal.onFresh(piece, ['a', 'b'])
  reveal.onSent(0, 'a')
  reveal.onSent(1, 'b')
  reveal.onFresh(2, ['a', 'b'])
  told.length = 0
  ring()
  // Piece 2 waited its 4 s; with that nothing waits any more.
  assert.deepEqual(told, ['2>b'])
  ring()
  assert.deepEqual(told, ['2>b', '0>b', '1>a'])
})

/** A seed's reveal whose timers come due as time passes. */
function makeTimedReveal(taking: ReadonlySet<string>) {
  const told: string[] = []
  const clock = new TurnedClock()
  const init = { firstChildren: 1, holdMs: 4000, tradeMs: 1000, holdMsMax: 10_000 }
  const isTaking = (child: string) => taking.has(child)
  const reveal = new PieceReveal<string>({ clock, isTaking }, init, (piece, to) => {
    for (const child of to) told.push(`${piece}>${child}`)
  })
  const pass = (ms: number): void => clock.advance(ms)
  return { reveal, told, pass }
}

test('of a seed, what a frozen child was dealt is told to the others soon, and what others were dealt is not', () => {
  const { reveal, told, pass } = makeTimedReveal(new Set(['b', 'c']))
  for (const piece of [0, 1, 2]) reveal.onFresh(piece, ['frozen', 'b', 'c'])
  told.length = 0
  pass(1500)
  assert.deepEqual(told, ['0>b', '0>c'])
})

test('of a seed, a child alone that wants none of what it was dealt, since it has that, is told of all', () => {
  const { reveal, told, pass } = makeTimedReveal(new Set())
  for (const piece of [0, 1, 2, 3, 4, 5]) reveal.onFresh(piece, ['a'])
  assert.deepEqual(told, ['0>a', '1>a', '2>a', '3>a'])
  pass(1500)
  assert.deepEqual(told.slice(4), ['4>a', '5>a'])
})

test('of a seed, a child that takes its time with what it asked for keeps what it was dealt', () => {
  const { reveal, told, pass } = makeTimedReveal(new Set(['a', 'b']))
  for (const piece of [0, 1]) reveal.onFresh(piece, ['a', 'b'])
  told.length = 0
  pass(3500)
  assert.deepEqual(told, [])
})
