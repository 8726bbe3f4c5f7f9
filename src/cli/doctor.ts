/** `pabal doctor`: everything that can be found wrong, with what to do. Exit code 4 when something is. */

import { Command } from 'commander'
import { PabalError } from '../core/errors.ts'
import { type Diagnosis, diagnose } from '../operate/doctor.ts'
import type { Invocation } from './invocation.ts'
import type { Output } from './output/output.ts'
import { line, type Painted, plain } from './output/text.ts'
import { count } from './output/words.ts'
import type { Act } from './program.ts'

export const doctorCommand = (act: Act): Command =>
  new Command('doctor').description('what is wrong, and what to do; exit code 4 when something is').action(act(doctor))

const doctor = async (invocation: Invocation): Promise<void> => {
  const { output } = invocation
  const findings = await diagnose(await invocation.app())
  const problems = findings.filter(({ level }) => level === 'problem').length
  const warnings = findings.filter(({ level }) => level === 'warning').length
  output.answer({
    json: { ok: problems === 0, findings },
    rows: findings,
    text: [
      ...findings.flatMap((finding) => findingLines(output, finding)),
      plain(''),
      verdict(output, problems, warnings),
    ],
  })
  if (problems > 0) throw new PabalError('PABAL_CHECK_FAILED', count(problems, 'problem'))
}

const findingLines = (
  output: Output,
  { level, title, context, consumer, detail, remedy, command }: Diagnosis,
): Painted[] => {
  const { paint } = output
  const sign = level === 'problem' ? paint.bad('✗') : level === 'warning' ? paint.careful('!') : paint.good('✓')
  const where = [context, consumer].filter((each) => each !== null).join('/')
  return [
    line`${sign} ${paint.bold(where)} ${title}: ${detail}`,
    ...(remedy === undefined ? [] : [line`    ${remedy}`]),
    ...(command === null ? [] : [line`    ${output.next(command)}`]),
  ]
}

const verdict = ({ paint }: Output, problems: number, warnings: number): Painted => {
  if (problems > 0) return paint.bad(`${count(problems, 'problem')}, ${count(warnings, 'warning')}`)
  return warnings > 0 ? paint.careful(`no problem, ${count(warnings, 'warning')}`) : paint.good('all is well')
}
