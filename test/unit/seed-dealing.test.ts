// A seed deals each fresh piece to one child, few at a time over all tasks, and offers it to others when first copies are out.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FirstCopies, SEED_DEALING, SeedDealing } from '../../dfdaemon/upload/seed-dealing.ts'
import { TurnedClock } from '../doubles/turned-clock.ts'

/** Children take what they are dealt unless `taking` says otherwise. */
function makeSeed(taking: (child: string) => boolean = () => true) {
  const clock = new TurnedClock()
  const copies = new FirstCopies({ clock })
  const open = () => {
    const told: string[] = []
    const dealing = new SeedDealing<string>(
      { clock, copies, isTaking: taking },
      SEED_DEALING,
      (piece, to) => {
        for (const child of to) told.push(`${piece}>${child}`)
      },
    )
    return { dealing, told }
  }
  return { clock, open, ...open() }
}

const children = (count: number) => Array.from({ length: count }, (_, number) => `c${number}`)

test('each piece goes to the child for whom the fewest wait, among equals in turn', () => {
  const { dealing, told } = makeSeed()
  for (const piece of [0, 1, 2]) dealing.onFresh(piece, ['a', 'b', 'c'])
  dealing.onSent(1)
  dealing.onFresh(3, ['a', 'b', 'c'])
  assert.deepEqual(told, ['0>a', '1>b', '2>c', '3>b'])
})

test('a child alone is dealt a few pieces and the next as it gets them', () => {
  const { dealing, told } = makeSeed()
  for (const piece of [0, 1, 2, 3, 4, 5]) dealing.onFresh(piece, ['a'])
  assert.deepEqual(told, ['0>a', '1>a', '2>a', '3>a'])
  dealing.onSent(0)
  assert.deepEqual(told.slice(4), ['4>a'])
})

test('over all tasks few pieces are dealt at a time, those of the tasks in turn', () => {
  const { open, clock } = makeSeed()
  const [one, other] = [open(), open()]
  const all = children(16)
  for (let piece = 0; piece < 20; piece++) one.dealing.onFresh(piece, all)
  assert.equal(one.told.length, 12)
  for (let piece = 0; piece < 20; piece++) other.dealing.onFresh(piece, all)
  assert.equal(other.told.length, 0)
  for (let piece = 0; piece < 6; piece++) one.dealing.onSent(piece)
  assert.deepEqual([one.told.length, other.told.length], [15, 3])
  // Children that are slow do not hold up the others.
  clock.advance(3000)
  assert.equal(one.told.length + other.told.length, 18 + 12)
})

test('a first copy is one that was dealt to this child and is not out', () => {
  const { dealing } = makeSeed()
  dealing.onFresh(0, ['a', 'b'])
  assert.deepEqual([dealing.isFirstCopy(0, 'a'), dealing.isFirstCopy(0, 'b')], [true, false])
  assert.equal(dealing.isFirstCopy(1, 'a'), false)
  dealing.onSent(0)
  assert.equal(dealing.isFirstCopy(0, 'a'), false)
})

test('the rest hears a while after the piece went out, twice as many each time', () => {
  const { dealing, told, clock } = makeSeed()
  dealing.onFresh(0, children(12))
  dealing.onSent(0)
  const counts = [1, 3, 7, 12, 12].map((_, step) => {
    if (step > 0) clock.advance(1000)
    return told.length
  })
  assert.deepEqual(counts, [1, 3, 7, 12, 12])
  assert.equal(new Set(told).size, 12)
})

test('nothing is offered a second time while first copies go out, in another task either, but for ten seconds', () => {
  const { open, clock } = makeSeed()
  const [one, other] = [open(), open()]
  one.dealing.onFresh(0, ['a', 'b', 'c', 'd'])
  one.dealing.onSent(0)
  for (let second = 0; second < 9; second++) {
    other.dealing.onFresh(second, ['a', 'b', 'c', 'd'])
    clock.advance(1000)
  }
  assert.deepEqual(one.told, ['0>a'])
  other.dealing.onFresh(9, ['a', 'b', 'c', 'd'])
  clock.advance(1000)
  assert.equal(one.told.length, 3)
})

test('what a child did not get when it is gone is dealt to another; what it got is told to the rest a while later', () => {
  const { dealing, told, clock } = makeSeed()
  for (const piece of [0, 1]) dealing.onFresh(piece, ['a', 'b', 'c'])
  dealing.onSent(0)
  told.length = 0
  dealing.onGone('a')
  dealing.onGone('b')
  assert.deepEqual(told, ['1>c'])
  dealing.onSent(1)
  clock.advance(1000)
  assert.deepEqual(told, ['1>c', '0>c'])
})

test('a newcomer does not hear of what others were dealt, and gets of what waits', () => {
  const { dealing, told, clock } = makeSeed()
  for (const piece of [0, 1, 2, 3, 4]) dealing.onFresh(piece, ['a'])
  told.length = 0
  assert.deepEqual(dealing.onNewcomer('b'), [0, 1, 2, 3, 4])
  assert.deepEqual(told, ['4>b'])
  for (const piece of [0, 1, 2, 3, 4]) dealing.onSent(piece)
  clock.advance(1000)
  assert.deepEqual(told.toSorted(), ['0>b', '1>b', '2>b', '3>b', '4>a', '4>b'])
})

test('what a frozen child was dealt is dealt to another soon, and what others were dealt is theirs', () => {
  const { dealing, told, clock } = makeSeed(child => child !== 'frozen')
  for (const piece of [0, 1, 2]) dealing.onFresh(piece, ['frozen', 'b', 'c'])
  told.length = 0
  clock.advance(1500)
  assert.equal(told.length, 1)
  assert.match(told[0]!, /^0>[bc]$/)
})

test('children that want nothing of what they were dealt, since they have it, hear of all', () => {
  const { dealing, told, clock } = makeSeed(() => false)
  for (const piece of [0, 1, 2, 3, 4, 5]) dealing.onFresh(piece, ['a'])
  assert.deepEqual(told, ['0>a', '1>a', '2>a', '3>a'])
  clock.advance(1500)
  assert.deepEqual(told.slice(4), ['4>a', '5>a'])
})

test('a piece that a slow child does not get in ten seconds is offered to others, too', () => {
  const { dealing, told, clock } = makeSeed()
  for (const piece of [0, 1]) dealing.onFresh(piece, ['a', 'b'])
  told.length = 0
  clock.advance(9500)
  assert.deepEqual(told, [])
  clock.advance(1500)
  assert.deepEqual(told.toSorted(), ['0>b', '1>a'])
})

test('a piece that waits for a child is told to all when nothing goes out any more', () => {
  const { dealing, told, clock } = makeSeed()
  for (const piece of [0, 1, 2, 3, 4]) dealing.onFresh(piece, ['a'])
  told.length = 0
  clock.advance(5000)
  assert.deepEqual(told, ['4>a'])
})

test('all can be told at once, and after the end no timer is left', () => {
  const { dealing, told, clock } = makeSeed()
  for (const piece of [0, 1]) dealing.onFresh(piece, ['a', 'b', 'c'])
  dealing.releaseAll()
  assert.equal(told.length, 6)
  dealing.onFresh(2, ['a', 'b', 'c'])
  dealing.close()
  assert.equal(clock.timers, 0)
})

test('a child that is far slower than the others is dealt one piece at a time, which others hear of as soon as it is late or out', () => {
  const { dealing, told, clock } = makeSeed()
  const all = ['slow', 'b', 'c', 'd']
  for (let piece = 0; piece < 4; piece++) dealing.onFresh(piece, all)
  clock.advance(100)
  for (const piece of [1, 2, 3]) dealing.onSent(piece)
  told.length = 0
  // The others took 100 ms, the slow one takes 1.2 s and goes on: others need not wait for what it was dealt.
  clock.advance(1100)
  assert.equal(told.filter(word => word.startsWith('0>')).length, 2)
  told.length = 0
  for (let piece = 4; piece < 12; piece++) dealing.onFresh(piece, all)
  assert.deepEqual(told.filter(word => word.endsWith('>slow')).length, 1)
  assert.equal(told.length, 8)
  const [slowPiece] = told.find(word => word.endsWith('>slow'))!.split('>')
  for (const word of told) if (!word.endsWith('>slow')) dealing.onSent(Number(word.split('>')[0]))
  told.length = 0
  clock.advance(1000)
  dealing.onSent(Number(slowPiece))
  assert.equal(told.filter(word => word.startsWith(`${slowPiece}>`)).length, 2)
})

test('pieces that went into a socket’s buffer at once say nothing of who is slow', () => {
  const { dealing, told, clock } = makeSeed()
  const all = ['a', 'b', 'c', 'd', 'e']
  for (let piece = 0; piece < 5; piece++) dealing.onFresh(piece, all)
  const [last] = told.find(word => word.endsWith('>e'))!.split('>')
  for (let piece = 0; piece < 5; piece++) if (String(piece) !== last) dealing.onSent(piece)
  told.length = 0
  clock.advance(600)
  dealing.onSent(Number(last))
  clock.advance(100)
  assert.deepEqual(told, [], 'nobody else hears of it before the children had time to trade')
})

test('on a slow line words take longer: what a child does not ask for is left to it for longer, and others hear later', () => {
  const { dealing, told, clock } = makeSeed()
  const all = ['a', 'b', 'c']
  for (let round = 0; round < 2; round++) {
    for (let piece = 3 * round; piece < 3 * round + 3; piece++) dealing.onFresh(piece, all)
    clock.advance(1100)
    for (let piece = 3 * round; piece < 3 * round + 3; piece++) dealing.onSent(piece)
  }
  told.length = 0
  clock.advance(1900)
  assert.deepEqual(
    told.filter(word => /^[345]>/.test(word)),
    [],
    'two times 1.1 s',
  )
  clock.advance(1200)
  assert.notDeepEqual(
    told.filter(word => /^[345]>/.test(word)),
    [],
  )
})
