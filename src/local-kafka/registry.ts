/** Apicurio Registry with the REST interface of Confluent's; what is registered lies in the data folder. */
import { join } from 'node:path';
import { REGISTRY_RUNNER } from './distribution.ts';
import type { GuardedProcess } from './guarded-process.ts';
import { startJava, type JavaProgram } from './java-process.ts';
import { address } from './listeners.ts';
import { LOOPBACK } from './ports.ts';
import { registryAnswers } from './readiness.ts';
import { Service } from './service.ts';

export interface RegistryOptions {
  readonly jarsDir: string;
  readonly program: Omit<JavaProgram, 'args' | 'logName'>;
  readonly port: number;
}

export class Registry extends Service {
  protected override readonly name = 'the registry';
  readonly url: string;
  readonly #options: RegistryOptions;

  constructor(options: RegistryOptions) {
    super();
    this.#options = options;
    this.url = `http://${address(options.port)}/apis/ccompat/v7`;
  }

  protected override launch(): GuardedProcess {
    const { jarsDir, program, port } = this.#options;
    return startJava({
      ...program,
      args: ['-jar', join(jarsDir, REGISTRY_RUNNER)],
      properties: {
        'quarkus.http.host': LOOPBACK,
        'quarkus.http.port': String(port),
        // In memory it would forget the ids that stand in the log's records whenever it is stopped.
        REGISTRY_DATASOURCE_URL: `jdbc:h2:file:${join(program.dataDir, 'registry', 'registry')}`,
        'quarkus.datasource.jdbc.initial-size': '1',
        'quarkus.datasource.jdbc.min-size': '1',
      },
      logName: 'registry',
    });
  }

  protected override answers(): Promise<boolean> {
    return registryAnswers(this.url);
  }
}
