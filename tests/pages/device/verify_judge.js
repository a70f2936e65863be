// Runs the cases of verify_cases.py with the module in a browser; a verdict is what was proven, or the error's code.
async (cases) => {
  const m = await import("/static/verify.js");
  const unhex = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const idsOf = ({ key, postQuantum }) => [key, postQuantum].filter((each) => each).map((each) => each.id);
  const checks = {
    async receipt(c) {
      const receipt = m.parseReceipt(unhex(c.receipt));
      const key = await m.parseVerifierKey(c.key);
      const policy = c.policy === null ? null : await m.parsePolicy(c.policy);
      const { checkpoint, cosigned } = await m.checkReceipt(receipt, unhex(c.entry), key, policy);
      const times = Object.fromEntries([...cosigned].map(([name, time]) => [name, String(time)]));
      return [String(receipt.index), String(checkpoint.size), times, receipt.extra && m.toHex(receipt.extra)];
    },
    async trust(c) {
      const { origin, logKeys, policy } = await m.parseTrust(unhex(c.trust));
      return [origin, idsOf(logKeys[0]), [...policy.witnesses.keys()], [...policy.groups.keys()], policy.quorum];
    },
    async history(c) {
      const key = await m.parseVerifierKey(c.key);
      const older = await m.openCheckpoint(unhex(c.older), key);
      const newer = await m.checkHistory(m.parseHistory(unhex(c.history)), older.checkpoint, key);
      return String(newer.size);
    },
    async in_force(c) {
      const answer = m.parseInForce(unhex(c.answer));
      if (c.admit) return m.checkUse(answer, unhex(c.admit), BigInt(c.size), "example.town/log", BigInt(c.index));
      if (answer.log !== "example.town/log" || answer.policySha256 !== "22".repeat(32) || answer.size !== BigInt(c.size)) {
        throw new m.ProofInvalid("The answer is to another question.");
      }
      return m.checkInForce(answer.proof, answer.root, BigInt(c.index), BigInt(c.size));
    },
    async log_keys(c) {
      const history = await m.checkLogKeys(unhex(c.log_keys), await m.parseTrust(unhex(c.trust)));
      return history.map((keys) => [String(keys.index), ...idsOf(keys)]);
    },
    async inclusion(c) {
      await m.checkInclusion(unhex(c.leaf), BigInt(c.index), BigInt(c.size), c.proof.map(unhex), unhex(c.root));
      return true;
    },
    async consistency(c) {
      const [oldRoot, root] = [unhex(c.old_root), unhex(c.root)];
      await m.checkConsistency(BigInt(c.old), BigInt(c.size), oldRoot, root, c.proof.map(unhex));
      return true;
    },
    async ed25519(c) {
      await m.checkEd25519(unhex(c.message), unhex(c.signature), unhex(c.key));
      return true;
    },
  };
  const verdicts = [];
  for (const each of cases) {
    try {
      verdicts.push(await checks[each.check](each));
    } catch (error) {
      verdicts.push(error instanceof m.MusubiError && error.message.endsWith(".") ? error.code : `crash: ${error.stack}`);
    }
  }
  return verdicts;
}
