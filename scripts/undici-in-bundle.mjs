// What the bundle has of undici: agents and requests, without fetch, WebSocket, caches and mocks, whose loading costs a host 8 MiB that it never uses.
import apiRequest from 'undici/lib/api/api-request.js'
import errors from 'undici/lib/core/errors.js'
import util from 'undici/lib/core/util.js'
import Agent from 'undici/lib/dispatcher/agent.js'
import Dispatcher from 'undici/lib/dispatcher/dispatcher.js'
import Pool from 'undici/lib/dispatcher/pool.js'
import ProxyAgent from 'undici/lib/dispatcher/proxy-agent.js'

// As undici's own index does.
Dispatcher.prototype.request = apiRequest

let anyAgent

/** As undici's own, for a URL and options that name no other path. */
export function request(url, { dispatcher, ...options } = {}) {
  const { origin, pathname, search } = util.parseURL(url)
  if (dispatcher === undefined) anyAgent ??= new Agent()
  const method = options.method ?? (options.body ? 'PUT' : 'GET')
  return (dispatcher ?? anyAgent).request({ ...options, origin, path: `${pathname}${search}`, method })
}

export { Agent, errors, Pool, ProxyAgent }
