using System.CommandLine;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Agent;
using Kvm.Vmm.Configuration;

namespace Kvm.Cli.Verbs.Guests;

/// <summary><c>kvmsharp cp</c>: files to a guest and back.</summary>
internal sealed class CpVerb : Verb
{
    private const string Copying = "How";

    private readonly WordArgument _from = new("FROM", "What is copied: PATH of this host, or NAME:PATH of a guest.") { Kind = ValueKind.File };
    private readonly WordArgument _to = new("TO", "Where it goes: a folder that is there, or the name it gets; PATH or NAME:PATH.") { Kind = ValueKind.File };
    private readonly SwitchOption _recursive = new("--recursive", Copying, "Folders with all that is in them.", "-r", "-R");

    public CpVerb()
        : base("cp", "Copies a file or a folder to a guest with an agent, or from it: permissions and times are kept, owners are not.")
    {
        Add(_from);
        Add(_to);
        Add(_recursive);
        Examples =
        [
            ("kvmsharp cp app web:/usr/local/bin/", "to the guest called web"),
            ("kvmsharp cp -r web:/var/log logs", "a folder, from it"),
        ];
        Notes = ["A PATH of this host with a colon in it is told by a slash before the colon: ./a:b."];
    }

    public override int Execute(ParseResult result, GlobalOptions global)
    {
        if (_from.Text(result) is not { } from || _to.Text(result) is not { } to)
            throw new VmmException(UsageErrors.Incomplete, "cp needs two paths: kvmsharp cp FILE NAME:PATH, kvmsharp cp NAME:PATH FILE");
        var (source, target) = (Place.Of(from), Place.Of(to));
        if ((source.Guest is null) == (target.Guest is null))
            throw new VmmException(UsageErrors.Conflict, "one of the two paths is in a guest (NAME:PATH), and the other one is not");
        bool recursive = _recursive.IsGiven(result);
        var skipped = Cancellable.Ask(cancel => CopyAsync(source, target, recursive, cancel), out int signal);
        if (skipped is null)
            return 128 + signal;
        foreach (string text in skipped)
            StandardStreams.Error($"kvmsharp: not copied: {text}\n");
        if (global.Json)
            StandardStreams.Output(JsonText.Of(json =>
            {
                json.WriteStartObject();
                json.WriteStartArray("skipped");
                foreach (string text in skipped)
                    json.WriteStringValue(text);
                json.WriteEndArray();
                json.WriteEndObject();
            }));
        return skipped.Count == 0 ? ExitCode.Success : ExitCode.HostFailure;
    }

    private static async Task<IReadOnlyList<string>> CopyAsync(Place source, Place target, bool recursive, CancellationToken cancel)
    {
        await using var client = await AgentClient.ConnectAsync(GuestNames.SocketOf((source.Guest ?? target.Guest)!), GuestNames.Patience, cancel).ConfigureAwait(false);
        return source.Guest is null
            ? await client.CopyToAsync(source.Path, target.Path, recursive, cancel).ConfigureAwait(false)
            : await client.CopyFromAsync(source.Path, target.Path, recursive, cancel).ConfigureAwait(false);
    }

    /// <summary>A path, and the guest it is in, if it is in one.</summary>
    private readonly record struct Place(string? Guest, string Path)
    {
        public static Place Of(string text)
        {
            int colon = text.IndexOf(':', StringComparison.Ordinal), slash = text.IndexOf('/', StringComparison.Ordinal);
            if (colon <= 0 || (slash >= 0 && slash < colon))
                return text.Length > 0 ? new Place(null, text) : throw new VmmException(UsageErrors.BadValue, "a path is empty");
            string path = text[(colon + 1)..];
            return path.Length > 0 ? new Place(text[..colon], path) : throw new VmmException(UsageErrors.BadValue, $"{VisibleText.Quote(text, 80)} has no path behind the colon");
        }
    }
}
