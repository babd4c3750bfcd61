// ctr images pull, and Kubernetes' way, through a dfdaemon that hosts.toml names.
import { testRows } from './rows.ts'

testRows('containerd', ['ctr-named', 'ctr-default', 'cri'])
