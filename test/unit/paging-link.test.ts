// Links to the next page lead back through the proxy, to the registry that the client named.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { rewriteLinks } from '../../dfdaemon/proxy/paging-link.ts'

const byPrefix = { path: '/v2/reg.lab/team/app/tags/list', ns: undefined }
const byName = { path: '/v2/team/app/tags/list', ns: 'reg.lab:5000' }

test('a link keeps the path that the client asked by, and its ns', () => {
  const link = '</v2/team/app/tags/list?last=b&n=2>; rel="next"'
  assert.equal(rewriteLinks(link, byPrefix), '</v2/reg.lab/team/app/tags/list?last=b&n=2>; rel="next"')
  assert.equal(
    rewriteLinks(link, byName),
    '</v2/team/app/tags/list?last=b&n=2&ns=reg.lab%3A5000>; rel="next"',
  )
})

test('links that name a host, a mirror’s path or only a query lead back too', () => {
  for (const target of [
    'https://mirror.lab/v2/cache/team/app/tags/list?n=2',
    '//reg.lab/v2/team/app/tags/list?n=2',
    '?n=2',
    'list?n=2&ns=evil.lab',
  ])
    assert.equal(
      rewriteLinks(`<${target}>;rel=next`, byPrefix),
      '</v2/reg.lab/team/app/tags/list?n=2>; rel="next"',
    )
})

test('several links are kept, and what is no link with a relation is left out', () => {
  const header = '<?n=1>; rel="prev", <?n=3>; title="x"; rel=next, <?n=9>, nonsense'
  assert.equal(
    rewriteLinks(header, byPrefix),
    '</v2/reg.lab/team/app/tags/list?n=1>; rel="prev", </v2/reg.lab/team/app/tags/list?n=3>; rel="next"',
  )
  for (const empty of ['', '<', '<?n=1>', '<http://[>; rel=next', `<?n=${'1'.repeat(9000)}>; rel=next`])
    assert.equal(rewriteLinks(empty, byPrefix), undefined)
})

test('whatever a source sends, each link is under the path that was asked', () => {
  const target = fc.string({ unit: 'binary-ascii' })
  fc.assert(
    fc.property(fc.array(target, { maxLength: 12 }), targets => {
      const links = rewriteLinks(targets.map(text => `<${text}>; rel="next"`).join(', '), byName)
      for (const link of links?.split(', ') ?? [])
        assert.match(link, /^<\/v2\/team\/app\/tags\/list\?[\w.*+%&=-]*ns=reg\.lab%3A5000>; rel="[a-z]+"$/i)
    }),
  )
})
