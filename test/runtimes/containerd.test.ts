// ctr images pull, and Kubernetes' way, through a dfdaemon that hosts.toml names.
import { testRows } from './rows.ts'

testRows('ctr-named')
testRows('ctr-default')
testRows('cri')
