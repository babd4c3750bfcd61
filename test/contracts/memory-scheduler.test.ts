// The twin in memory against the contract of scheduler clients.
import { piecesOf } from '../../dfdaemon/session/piece-runs.ts'
import { PantalaError } from '../../shared/errors.ts'
import { MemoryScheduler } from '../doubles/memory-scheduler.ts'
import { testSchedulerClient } from './scheduler-client-suite.ts'

testSchedulerClient('memory', async () => {
  const client = new MemoryScheduler()
  return {
    client,
    pushHashes: (digest, pieces, hashes) => client.pushHashes(digest, pieces, hashes),
    pushParents: (digest, parents, drop) => client.pushParents(digest, parents, drop),
    pushFailed: (digest, code) => client.pushFailed(digest, new PantalaError(code)),
    pushGrant: grant => client.pushGrant(grant),
    goAway: async () => client.goAway(),
    comeBack: async () => client.comeBack(),
    reportedPieces: () => client.told.flatMap(told => (told.told === 'report' ? told.pieces : [])),
    wantedPieces: () =>
      client.told.flatMap(told => {
        const wish = told.told === 'register' ? told.wish : told.told === 'want' ? told : undefined
        return [...piecesOf(wish?.urgent ?? [])]
      }),
    stop: async () => {},
  }
})
