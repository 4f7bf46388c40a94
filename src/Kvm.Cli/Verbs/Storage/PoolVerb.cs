using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Manager.Pools;
using Kvm.Vmm;

namespace Kvm.Cli.Verbs.Storage;

/// <summary><c>kvmsharp pool</c>: folders that volumes are in.</summary>
internal sealed class PoolVerb : Verb
{
    private const string How = "How";

    private static readonly string[] s_actions = ["define", "ls", "inspect", "rm", "rebalance", "pack"];

    private readonly WordArgument _action = new("ACTION", "define NAME [FOLDER…], ls, inspect NAME, rm NAME, rebalance NAME, pack NAME.") { Kind = ValueKind.OneOf, Values = s_actions };
    private readonly WordArgument _words = new("NAME", "The pool, and for define its folders.") { Kind = ValueKind.File, Repeats = true };
    private readonly ValueOption _quota = new("--quota", "SIZE", How, "define: what the pool's volumes may come to take, all together; any number of bytes where this is not given.");
    private readonly SwitchOption _force = new("--force", How, "rm: removes its volumes and snapshots, too.", "-f");
    private readonly ValueOption _cold = new("--cold", "DURATION", How, "pack: leaves what was written in that time. [default: 1h]");

    public PoolVerb()
        : base("pool", "Storage pools: folders that volumes are spread over.")
    {
        foreach (var argument in (Argument[])[_action, _words])
            Add(argument);
        foreach (var option in (Option[])[_quota, _force, _cold])
            Add(option);
        Examples =
        [
            ("kvmsharp pool define fast /srv/nvme0 /srv/nvme1 --quota 500G", "a pool of two folders"),
            ("kvmsharp pool inspect fast", "its folders, volumes, what is promised and what is taken, and what is wrong"),
            ("kvmsharp pool rebalance fast", "after a folder was added"),
            ("kvmsharp pool pack fast --cold 24h", "compresses what nobody has written since yesterday"),
        ];
        Notes = ["docs/pools.md says what a pool keeps, and where."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        string action = Deed(_action, result);
        var words = Counted(action, _words.Texts(result), action == "ls" ? 0 : 1, action switch { "ls" => 0, "define" => int.MaxValue, _ => 1 }, "the NAME of a pool");
        var store = new PoolStore(ManagerOptions.OfThisUser());
        switch (action)
        {
            case "define":
                ulong? quota = _quota.Text(result) is { } text ? Quantities.Size(_quota.Name, text) : null;
                return SnapshotVerb.Show(global, store.Define(words[0], [.. words.Skip(1)], quota).Inspect(), PoolText.Write, PoolText.Line);
            case "ls":
                return SnapshotVerb.Show(global, store.List(), PoolText.Write, PoolText.Of);
            case "inspect":
                return SnapshotVerb.Show(global, store.Get(words[0]).Inspect(), PoolText.Write, PoolText.Of);
            case "rm":
                store.Remove(words[0], _force.IsGiven(result));
                return SnapshotVerb.Say(global, $"{words[0]}: removed", ("removed", words[0]));
            case "rebalance":
                return Cancellable.Run(cancel => SnapshotVerb.Show(global, store.Get(words[0]).Rebalance(cancel), PoolText.Write, PoolText.Of));
            default:
                var cold = _cold.Text(result) is { } duration ? Quantities.Duration(_cold.Name, duration) : TimeSpan.FromHours(1);
                return Cancellable.Run(cancel => SnapshotVerb.Show(global, store.Get(words[0]).Pack(null, cold, DateTimeOffset.UtcNow, cancel), PoolText.Write, PoolText.Of));
        }
    }
}
