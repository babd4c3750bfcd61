// Which requests go by an HTTP proxy: options before the environment, loopback and the service itself never.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPantalaError } from '../../shared/errors.ts'
import { HttpProxies, type HttpProxySettings } from '../../shared/source/reach/http-proxy.ts'

const choose = (settings: Partial<HttpProxySettings>) =>
  new HttpProxies({ env: {}, ownAddresses: [], ...settings })
const proxyOf = (proxies: HttpProxies, url: string) => proxies.proxyFor(new URL(url))?.url

test('the environment names a proxy for each scheme, in capitals or small letters', () => {
  const env = { HTTPS_PROXY: 'http://secure.corp:3128/', http_proxy: 'plain.corp:8080' }
  const proxies = choose({ env })
  assert.equal(proxyOf(proxies, 'https://quay.io/v2/'), 'http://secure.corp:3128')
  assert.equal(proxyOf(proxies, 'http://reg.lab:5000/v2/'), 'http://plain.corp:8080')
  assert.equal(proxyOf(choose({}), 'https://quay.io/'), undefined)
  assert.equal(proxyOf(choose({ env: { HTTPS_PROXY: '' } }), 'https://quay.io/'), undefined)
})

test('upstreams.proxy stands before the environment, and none turns it off', () => {
  const env = { HTTPS_PROXY: 'http://env.corp:1' }
  assert.equal(
    proxyOf(choose({ env, proxy: 'https://option.corp:2' }), 'http://a.b/'),
    'https://option.corp:2',
  )
  assert.equal(proxyOf(choose({ env, proxy: 'none' }), 'https://a.b/'), undefined)
})

test('NO_PROXY and upstreams.noProxy name hosts, domains, ports, addresses and ranges', () => {
  const env = {
    HTTPS_PROXY: 'http://p.corp:1',
    NO_PROXY: 'reg.lab, .inside.corp,*.star.corp 10.0.0.0/8,[fd00::1],192.168.1.5',
  }
  const proxies = choose({ env, noProxy: ['ported.lab:5000', 'fc00::/7'] })
  for (const url of [
    'https://reg.lab/',
    'https://a.REG.lab:444/',
    'https://a.inside.corp/',
    'https://x.star.corp/',
    'https://10.9.8.7/',
    'https://[fd00::1]/',
    'https://[fdaa::1]/',
    'https://192.168.1.5:5000/',
    'https://ported.lab:5000/',
  ])
    assert.equal(proxyOf(proxies, url), undefined, url)
  for (const url of [
    'https://areg.lab/',
    'https://inside.corp/',
    'https://11.0.0.1/',
    'https://ported.lab/',
    'https://192.168.1.55/',
    'https://quay.io/',
  ])
    assert.equal(proxyOf(proxies, url), 'http://p.corp:1', url)
  assert.equal(proxyOf(choose({ env: { ...env, NO_PROXY: '*' } }), 'https://quay.io/'), undefined)
})

test('loopback and the service’s own listener are never proxied', () => {
  const proxies = choose({ proxy: 'http://p.corp:1', ownAddresses: ['10.0.0.9:65001'] })
  for (const url of [
    'http://127.0.0.1:5000/',
    'https://localhost/',
    'http://[::1]:80/',
    'http://10.0.0.9:65001/',
  ])
    assert.equal(proxyOf(proxies, url), undefined, url)
  assert.equal(proxyOf(proxies, 'http://10.0.0.9:65002/'), 'http://p.corp:1')
})

test('a proxy that is the service itself is refused as an option, and left out with a warning from the environment', () => {
  const ownAddresses = ['0.0.0.0:65001']
  assert.throws(
    () => choose({ proxy: 'http://localhost:65001', ownAddresses }),
    error => isPantalaError(error, 'CONFIG_INVALID'),
  )
  const proxies = choose({ env: { HTTPS_PROXY: 'http://u:topsecret@127.0.0.1:65001' }, ownAddresses })
  assert.equal(proxyOf(proxies, 'https://quay.io/'), undefined)
  assert.equal(proxies.warnings.length, 1)
  assert.doesNotMatch(proxies.warnings.join(), /topsecret/)
})

test('credentials are taken out of the URL, and a wrong one is not repeated', () => {
  const proxies = choose({ proxy: 'http://us%40er:topsecret@p.corp:3128' })
  const proxy = proxies.proxyFor(new URL('https://quay.io/'))!
  assert.equal(proxy.url, 'http://p.corp:3128')
  assert.equal(proxy.token, `Basic ${Buffer.from('us@er:topsecret').toString('base64')}`)
  assert.deepEqual(proxies.used, ['http://p.corp:3128'])
  for (const wrong of ['socks5://u:topsecret@p.corp', 'http://', 'http://u:topsecret@p corp:1'])
    assert.throws(
      () => choose({ env: { HTTPS_PROXY: wrong } }),
      error =>
        isPantalaError(error, 'CONFIG_INVALID') &&
        error.message.includes('HTTPS_PROXY') &&
        !error.message.includes('topsecret'),
      wrong,
    )
})
