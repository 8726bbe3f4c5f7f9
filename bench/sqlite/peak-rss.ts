/** Preloaded into a process (`--import`): writes its peak memory, in KiB, to the file that PEAK_RSS_FILE names. */

import { writeFileSync } from 'node:fs'

process.on('exit', () => writeFileSync(process.env['PEAK_RSS_FILE']!, String(process.resourceUsage().maxRSS)))
