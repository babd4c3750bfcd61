// ctr images pull through a dfdaemon that hosts.toml names.
import { testRows } from './rows.ts'

testRows('ctr-named')
testRows('ctr-default')
