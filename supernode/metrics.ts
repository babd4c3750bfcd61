// The metrics of a supernode, under names that tests and dashboards may rely on.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** What is read off other parts when somebody looks. */
export interface SupernodeReadings {
  hosts(): number
  tasks(): number
}

export class SupernodeMetrics {
  readonly registry = new Registry()
  readonly #scheduleSeconds = new Histogram({
    name: 'pantala_supernode_schedule_seconds',
    help: 'Time one message of a host took to be applied and decided upon.',
    buckets: [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
    registers: [this.registry],
  })
  readonly #sourceBytes = new Counter({
    name: 'pantala_supernode_source_bytes_total',
    help: 'Blob bytes that hosts and the relay fetched from sources.',
    registers: [this.registry],
  })
  readonly #relays = new Counter({
    name: 'pantala_supernode_relays_total',
    help: 'Manifests, lengths and small blobs asked for by hosts, by result: fetched, shared, stale or failed.',
    labelNames: ['result'],
    registers: [this.registry],
  })

  constructor(init: { processMetrics: boolean }) {
    if (init.processMetrics) collectDefaultMetrics({ register: this.registry })
  }

  /** Adds the gauges that are read when somebody looks. */
  watch(readings: SupernodeReadings): void {
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers: [this.registry],
        collect() {
          this.set(read())
        },
      })
    }
    gauge('pantala_supernode_hosts', 'Hosts known and alive.', () => readings.hosts())
    gauge('pantala_supernode_tasks', 'Tasks known.', () => readings.tasks())
  }

  observeSchedule(seconds: number): void {
    this.#scheduleSeconds.observe(seconds)
  }

  countSourceBytes(bytes: number): void {
    this.#sourceBytes.inc(bytes)
  }

  countRelay(result: 'fetched' | 'shared' | 'stale' | 'failed'): void {
    this.#relays.inc({ result })
  }
}
