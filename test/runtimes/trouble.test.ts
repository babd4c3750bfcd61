// What becomes of a pull when the dfdaemon is killed under it, or the registry sends a wrong byte.
import { ways } from './matrix.ts'
import { testTrouble } from './trouble.ts'

for (const { id, killed } of ways) if (killed !== undefined) testTrouble(id)
