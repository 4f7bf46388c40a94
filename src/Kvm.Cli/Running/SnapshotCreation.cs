using System.Globalization;
using System.Text.Json;
using Kvm.Cli.Text;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Control;
using Kvm.Vmm.Host;
using Kvm.Vmm.Snapshots;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Cli.Running;

/// <summary><c>kvmsharp snapshot create</c>: asks a running guest, by its control socket, to take a snapshot of itself.</summary>
internal static class SnapshotCreation
{
    /// <summary>Asks, and says what came of it.</summary>
    /// <param name="machine">The guest's name.</param>
    /// <param name="name">The snapshot's.</param>
    /// <param name="store">The folder.</param>
    /// <param name="incremental">Only what was written since the last one.</param>
    /// <param name="compression">How chunks are packed.</param>
    /// <param name="key">Encrypts it; or null.</param>
    /// <param name="json">The answer as it is.</param>
    /// <exception cref="VmmException">The guest is not there, or cannot.</exception>
    public static int Run(string machine, string name, string store, bool incremental, SnapshotCompression compression, SnapshotKey? key, bool json)
    {
        var answer = Take(machine, name, store, incremental, compression, key);
        StandardStreams.Output(json ? answer.GetRawText() + "\n" : Text(answer));
        return ExitCode.Success;
    }

    /// <summary>As <see cref="Run"/>, without saying anything: the guest's answer.</summary>
    public static JsonElement Take(string machine, string name, string store, bool incremental, SnapshotCompression compression, SnapshotKey? key)
    {
        ThrowIfSeveralWords(name);
        using var client = ControlClient.Connect(Folders.Runtime, machine);
        string kind = incremental ? "increment" : "all";
        return client.AskOnce($"snapshot {name} {kind} {StoreWords.Of(compression, store, key)}")
            ?? throw new VmmException(ControlErrors.NoGuest, $"{machine} ended before the snapshot was taken");
    }

    /// <summary><c>kvmsharp backup create</c> of a running guest; as <see cref="Run"/>, with its memory or without.</summary>
    public static int Backup(string machine, bool memory, string store, SnapshotCompression compression, SnapshotKey? key, bool json)
    {
        ThrowIfSeveralWords(machine);
        using var client = ControlClient.Connect(Folders.Runtime, machine);
        var answer = client.AskOnce($"backup {machine} {(memory ? "memory" : "disks")} {StoreWords.Of(compression, store, key)}")
            ?? throw new VmmException(ControlErrors.NoGuest, $"{machine} ended before the backup was made");
        StandardStreams.Output(json ? answer.GetRawText() + "\n" : string.Create(CultureInfo.InvariantCulture,
            $"{VisibleText.Escape(answer.GetProperty("name").GetString() ?? "")}: {Size(answer, "readBytes")} read of its disks, {Size(answer, "storedBytes")} in the store; the guest stood still for {answer.GetProperty("downtimeMs").GetDouble():0.0} ms\n"));
        return ExitCode.Success;
    }

    private static string Size(in JsonElement answer, string member) => DiskText.Size((ulong)answer.GetProperty(member).GetInt64());

    /// <summary>The request is words and a line: no name may end it early.</summary>
    private static void ThrowIfSeveralWords(string name)
    {
        if (name.AsSpan().ContainsAny(' ', '\n', '\r'))
            throw new VmmException(SnapshotErrors.BadName, VisibleText.Quote(name, 64));
    }

    /// <summary>The answer for people: lines.</summary>
    public static string Text(in JsonElement answer)
    {
        string based = answer.GetProperty("parent").GetString() is { } parent ? $", based on {VisibleText.Escape(parent)}" : "";
        string disks = string.Concat(answer.GetProperty("disks").EnumerateArray().Select(disk => disk.GetProperty("why").GetString() is { } why
            ? $"{disk.GetProperty("name").GetString()} is only known by its generation: {VisibleText.Escape(why)}\n" : ""));
        return string.Create(CultureInfo.InvariantCulture,
            $"{VisibleText.Escape(answer.GetProperty("name").GetString() ?? "")}: {DiskText.Size((ulong)answer.GetProperty("storedBytes").GetInt64())} in the store{based}; the guest stood still for {answer.GetProperty("downtimeMs").GetDouble():0.0} ms\n") + disks;
    }
}
