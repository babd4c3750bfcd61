// What every scheduler client does, told once for the one over libp2p and for its twin in memory.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SchedulerClient, TaskListener } from '../../dfdaemon/scheduler/scheduler-client.ts'
import type { Digest } from '../../shared/digest.ts'
import { isPantalaError } from '../../shared/errors.ts'
import type { Candidate, Grant, HostId, Report } from '../../shared/protocol/messages.ts'
import { HeardPushes, until } from '../harness/schedule-net.ts'

/** A client, and the supernode's side of it moved by hand. */
export interface SchedulerClientSetting {
  readonly client: SchedulerClient
  pushHashes(digest: Digest, pieces: readonly number[], hashes: Uint8Array): void
  pushParents(digest: Digest, parents: readonly Candidate[], drop: readonly HostId[]): void
  pushFailed(digest: Digest, code: 'SOURCE_DENIED'): void
  pushGrant(grant: Grant): void
  goAway(): Promise<void>
  comeBack(): Promise<void>
  /** Pieces that reached the supernode's side, from all reports. */
  reportedPieces(): number[]
  /** Pieces that the supernode's side was told readers wait for. */
  wantedPieces(): number[]
  stop(): Promise<void>
}

const MiB = 1024 * 1024
const digest: Digest = `sha256:${'ab'.repeat(32)}`
const source = { registry: 'r', repository: 'a/b' }
const request = { digest, size: 4 * MiB, source, have: () => undefined }
const report = (pieces: number[]): Omit<Report, 'type' | 'slotsBusy'> => ({
  digest,
  pieces,
  fromSourceBytes: 0,
  parents: [],
})

export function testSchedulerClient(name: string, start: () => Promise<SchedulerClientSetting>): void {
  const scenario = (what: string, run: (setting: SchedulerClientSetting) => Promise<void>) =>
    test(`${name}: ${what}`, async t => {
      const setting = await start()
      t.after(() => setting.stop())
      await run(setting)
    })
  const register = (setting: SchedulerClientSetting, listener: TaskListener) =>
    setting.client.register(request, listener, AbortSignal.timeout(10_000))

  scenario('pushes reach the listener from registering until finish, never during a call', async setting => {
    const heard = new HeardPushes()
    const registered = await register(setting, heard)
    assert.equal(registered.pieceSize, MiB)
    assert.equal(registered.digest, digest)
    setting.pushHashes(digest, [1, 2], new Uint8Array(64))
    assert.deepEqual(heard.pieces, [])
    await until(() => heard.pieces.length === 2, 'hashes')
    setting.pushParents(digest, [{ host: 'A', addresses: [], seed: false }], ['B'])
    await until(() => heard.parents.length === 1, 'parents')
    assert.deepEqual(heard.dropped, ['B'])
    setting.client.finish(digest, 'left')
    setting.pushHashes(digest, [3], new Uint8Array(32))
    const other = new HeardPushes()
    await register(setting, other)
    setting.pushHashes(digest, [0], new Uint8Array(32))
    await until(() => other.pieces.length > 0, 'hashes of the second')
    assert.deepEqual(heard.pieces, [1, 2])
  })

  scenario('a failed task comes as its error', async setting => {
    const heard = new HeardPushes()
    await register(setting, heard)
    setting.pushFailed(digest, 'SOURCE_DENIED')
    await until(() => heard.errors.length === 1, 'failure')
    assert.ok(isPantalaError(heard.errors[0], 'SOURCE_DENIED'))
  })

  scenario('grants come unasked', async setting => {
    const grants: Grant[] = []
    setting.client.onGrant = grant => grants.push(grant)
    const runs = [{ first: 0, count: 4 }]
    setting.pushGrant({ type: 'grant', digest, size: 4 * MiB, pieceSize: MiB, source, runs })
    assert.equal(grants.length, 0)
    await until(() => grants.length === 1, 'grant')
    assert.deepEqual(grants[0]!.runs, runs)
  })

  scenario(
    'away: listeners hear it, requests fail, reports are dropped; back: it registers itself',
    async setting => {
      const heard = new HeardPushes()
      await register(setting, heard)
      await setting.goAway()
      await until(() => heard.away === 1 && !setting.client.connected, 'away')
      setting.client.report(report([0]))
      const other = { ...request, digest: `sha256:${'cd'.repeat(32)}` as const }
      await assert.rejects(
        setting.client.register(other, new HeardPushes(), AbortSignal.timeout(10_000)),
        error => isPantalaError(error, 'SUPERNODE_AWAY'),
      )
      await setting.comeBack()
      await until(() => heard.returns.length === 1, 'back')
      assert.equal(setting.client.connected, true)
      assert.equal(heard.returns[0]!.digest, digest)
      setting.client.report(report([1]))
      await until(() => setting.reportedPieces().length > 0, 'report')
      assert.deepEqual(setting.reportedPieces(), [1])
    },
  )

  scenario('what readers wait for is told when registering, and as it grows', async setting => {
    const wish = { urgent: [{ first: 2, count: 1 }], partial: true }
    const wishful = { ...request, wish: () => wish }
    await setting.client.register(wishful, new HeardPushes(), AbortSignal.timeout(10_000))
    assert.deepEqual(setting.wantedPieces(), [2])
    setting.client.want(digest, { urgent: [{ first: 0, count: 1 }], partial: true })
    await until(() => setting.wantedPieces().length === 2, 'the second wish')
    assert.deepEqual(setting.wantedPieces().toSorted(), [0, 2])
    await setting.goAway()
    await until(() => !setting.client.connected, 'away')
    setting.client.want(digest, { urgent: [{ first: 1, count: 1 }], partial: true })
  })

  scenario('an aborted request gives its reason', async setting => {
    const reason = new Error('not wanted any more')
    await assert.rejects(
      setting.client.register(request, new HeardPushes(), AbortSignal.abort(reason)),
      reason,
    )
  })
}
