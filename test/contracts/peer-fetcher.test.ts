// The piece fetcher over libp2p keeps the contract, against our own node.
import { startChild, startParent } from '../harness/piece-peers.ts'
import { pieceFetcherSuite } from './piece-fetcher-suite.ts'

pieceFetcherSuite('PeerFetcher', async t => {
  const { fetcher } = await startChild(t)
  return {
    fetcher,
    addParent: async () => {
      const { candidate, store, stop } = await startParent(t)
      return { candidate, store, die: stop }
    },
  }
})
