// verify.mjs METADATA_URL ROOT_FILE TARGET: refresh from a trusted root, look one target up.
// Prints its length, hashes and custom field as one JSON object; anything wrong ends in exit 1.
import { copyFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Updater } from "tuf-js";

const [metadataBaseUrl, rootFile, targetPath] = process.argv.slice(2);
const metadataDir = mkdtempSync(join(tmpdir(), "tuf-js-"));
copyFileSync(rootFile, join(metadataDir, "root.json"));
const updater = new Updater({ metadataDir, metadataBaseUrl, config: { fetchRetries: 0 } });
await updater.refresh();
const target = await updater.getTargetInfo(targetPath);
if (target === undefined) throw new Error(`${targetPath} is no signed target`);
console.log(JSON.stringify({ length: target.length, hashes: target.hashes, custom: target.custom }));
