// Reads lines, each a batch in JSON: statements, whether to print the rows of the last
// one, and a mark that is printed after it. Prints one line for each row, fields
// separated by tabs.
const { DuckDBInstance } = require('@duckdb/node-api');
const readline = require('node:readline');

async function main() {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const { statements, mark } = JSON.parse(line);
    const all = await connection.extractStatements(statements);
    for (let i = 0; i < all.count; i++) {
      const prepared = await all.prepare(i);
      const result = await prepared.run();
      if (result.statementType === 1) {
        for (const row of await result.getRowsJson()) process.stdout.write(row.join('\t') + '\n');
      }
      prepared.destroySync?.();
    }
    process.stdout.write(mark + '\n');
  }
}

main().catch((err) => {
  process.stderr.write(String(err) + '\n', () => process.exit(1));
});
