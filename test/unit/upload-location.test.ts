// Locations of uploads lead back to the proxy, to the registry the client named, and nobody can make one up.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { changeParameter, dropParameter } from '../../dfdaemon/proxy/raw-query.ts'
import { UploadLocations } from '../../dfdaemon/proxy/upload-location.ts'

const place = {
  registry: 'reg.lab:5000',
  repository: 'team/app',
  name: 'team/app',
  ns: undefined,
  path: '/v2/team/app/blobs/uploads/',
  origin: 'https://reg.lab:5000',
}
const session = '/v2/team/app/blobs/uploads/0-1?_state=aB%3D%3D.x_-&n=%2f'

test('the registry’s own Location loses its host and keeps every byte after it', () => {
  const locations = new UploadLocations()
  for (const before of ['', 'https://reg.lab:5000', 'http://reg.lab:5000', '//reg.lab:5000'])
    assert.equal(locations.rewrite(`${before}${session}`, place), session)
})

test('registry before the name, library/ and ns are what the client gave', () => {
  const locations = new UploadLocations()
  const prefixed = { ...place, name: 'reg.lab:5000/team/app' }
  assert.equal(locations.rewrite(session, prefixed), session.replace('team/app', 'reg.lab:5000/team/app'))
  const hub = { ...place, registry: 'docker.io', repository: 'library/app', name: 'app' }
  assert.equal(
    locations.rewrite('https://reg.lab:5000/v2/library/app/manifests/sha256:1', hub),
    '/v2/app/manifests/sha256:1',
  )
  const named = { ...place, ns: 'reg.lab:5000' }
  assert.equal(locations.rewrite(session, named), `${session}&ns=reg.lab%3A5000`)
  assert.equal(
    locations.rewrite('/v2/team/app/blobs/uploads/1', named),
    '/v2/team/app/blobs/uploads/1?ns=reg.lab%3A5000',
  )
})

test('a Location at another host, or none that can be read, stays as it is', () => {
  const locations = new UploadLocations()
  for (const location of [
    'https://storage.lab/upload?sig=1',
    'https://reg.lab/v2/team/app/blobs/uploads/1',
    'https://u:p@reg.lab:5000/v2/team/app/blobs/uploads/1',
    'http://[',
    `/v2/team/app/${'x'.repeat(3000)}`,
  ])
    assert.equal(locations.rewrite(location, place), location)
})

test('a session elsewhere on the registry comes back through a name that only this process can make', () => {
  const locations = new UploadLocations()
  const path = '/artifacts-uploads/team/app/1?token=a%2Bb'
  const location = locations.rewrite(`https://reg.lab:5000${path}`, place)
  const name = /^\/v2\/team\/app\/blobs\/uploads\/(~[^/?]+)$/.exec(location)![1]!
  assert.equal(locations.open(name, place), path)
  assert.equal(locations.open(name, { ...place, repository: 'team/other' }), undefined)
  assert.equal(locations.open(name, { ...place, registry: 'other.lab' }), undefined)
  assert.equal(locations.open(`${name.slice(0, -3)}AAA`, place), undefined)
  assert.equal(new UploadLocations().open(name, place), undefined)
  assert.equal(locations.open('an-ordinary-session', place), undefined)
})

test('single parameters are changed or left out, and the others keep their spelling', () => {
  assert.equal(dropParameter('?ns=a%3A1&_state=a%2B+b==&x', 'ns'), '?_state=a%2B+b==&x')
  assert.equal(dropParameter('?ns=a', 'ns'), '')
  assert.equal(dropParameter('', 'ns'), '')
  assert.equal(dropParameter('?n%73=a&%zz=1', 'ns'), '?%zz=1')
  const change = (value: string) => value.replace('reg.lab/', '')
  assert.equal(
    changeParameter('?mount=sha256%3aAB&from=reg.lab%2Fa', 'from', change),
    '?mount=sha256%3aAB&from=a',
  )
  assert.equal(changeParameter('?from=a%2fb&x=%7E', 'from', change), '?from=a%2fb&x=%7E')
  assert.equal(changeParameter('', 'from', change), '')
})
