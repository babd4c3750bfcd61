// Of a host, fresh pieces are told to a few children first, in turn, and to the rest once one has the piece or the time is up.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FewFirst } from '../../dfdaemon/upload/piece-reveal.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

function makeReveal(firstChildren: number) {
  const told: string[] = []
  const clock = new TurnedClock()
  const reveal = new FewFirst<string>({ clock }, { firstChildren, holdMs: 100 }, (piece, to) => {
    for (const child of to) told.push(`${piece}>${child}`)
  })
  return { reveal, told, clock }
}

test('few children are all told at once', () => {
  const { reveal, told, clock } = makeReveal(2)
  reveal.onFresh(0, ['a', 'b'])
  assert.deepEqual(told, ['0>a', '0>b'])
  assert.equal(clock.timers, 0)
})

test('what is held back can be told to all at once', () => {
  const { reveal, told, clock } = makeReveal(1)
  reveal.onFresh(0, ['a', 'b', 'c'])
  reveal.onFresh(1, ['a', 'b', 'c'])
  reveal.releaseAll()
  assert.deepEqual(told.toSorted(), ['0>a', '0>b', '0>c', '1>a', '1>b', '1>c'])
  clock.advance(1000)
  assert.equal(told.length, 6)
})

test('children take turns, so that each is first for different pieces', () => {
  const { reveal, told } = makeReveal(1)
  for (const piece of [0, 1, 2, 3]) reveal.onFresh(piece, ['a', 'b', 'c'])
  assert.deepEqual(told, ['0>a', '1>b', '2>c', '3>a'])
})

test('the rest hears when a child has the piece, or when the time is up, once', () => {
  const { reveal, told, clock } = makeReveal(1)
  reveal.onFresh(0, ['a', 'b', 'c'])
  reveal.onFresh(1, ['a', 'b', 'c'])
  told.length = 0
  reveal.onSent(0)
  assert.deepEqual(told, ['0>b', '0>c'])
  clock.advance(100)
  assert.deepEqual(told.toSorted(), ['0>b', '0>c', '1>a', '1>c'])
  reveal.onSent(1)
  reveal.onSent(7)
  clock.advance(1000)
  assert.equal(told.length, 4)
})

test('a child that is gone hears of nothing more, and after the end nobody does', () => {
  const { reveal, told, clock } = makeReveal(1)
  reveal.onFresh(0, ['a', 'b', 'c'])
  reveal.onFresh(1, ['a', 'b', 'c'])
  reveal.onGone('c')
  reveal.onSent(0)
  assert.deepEqual(told, ['0>a', '1>b', '0>b'])
  reveal.close()
  clock.advance(1000)
  assert.equal(told.length, 3)
  assert.equal(clock.timers, 0)
})
