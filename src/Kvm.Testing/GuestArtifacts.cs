using System.Text;
using Kvm.Vmm;
using Kvm.Vmm.Control;
using Kvm.Vmm.Reporting;

namespace Kvm.Testing;

/// <summary>What is kept of a guest when a test failed.</summary>
public static class GuestArtifacts
{
    private const int MostName = 100;

    /// <summary>
    /// Where artefacts go, a folder for each test: KVMSHARP_ARTIFACTS where that is set, else <c>TestResults/kvmsharp</c> in the folder that tests run in (for <c>dotnet test</c>
    /// that of the test's assembly).
    /// </summary>
    public static string DefaultFolder =>
        Environment.GetEnvironmentVariable("KVMSHARP_ARTIFACTS") is { Length: > 0 } folder ? folder : Path.Combine(Environment.CurrentDirectory, "TestResults", "kvmsharp");

    /// <summary>
    /// Writes what is known of a guest: <c>console.log</c>; <c>report.json</c> with its exits, as <c>run --report</c> writes it where the guest has ended, and as <c>stats --json</c>
    /// where it runs; <c>network.pcapng</c> where it has a network card. A folder that is there is written over.
    /// </summary>
    /// <param name="guest">The guest, which runs or has ended.</param>
    /// <param name="folder">Where.</param>
    public static void Save(Guest guest, string folder)
    {
        ArgumentNullException.ThrowIfNull(guest);
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "console.log"), guest.Console.Text);
        File.WriteAllText(Path.Combine(folder, "report.json"), Report(guest.Machine, guest.Name));
        if (guest.CapturePath is { } capture && File.Exists(capture))
            File.Copy(capture, Path.Combine(folder, "network.pcapng"), overwrite: true);
    }

    /// <summary>A name for a test's folder: its letters, digits and a few signs.</summary>
    /// <param name="test">The test's name.</param>
    public static string FolderNameOf(string test)
    {
        ArgumentNullException.ThrowIfNull(test);
        var name = new StringBuilder();
        foreach (char c in test.Length > MostName ? test[..MostName] : test)
            name.Append(char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' ? c : '_');
        return name.ToString().Trim('.') is { Length: > 0 } usable ? usable : "test";
    }

    private static string Report(VirtualMachine machine, string name)
    {
        if (!machine.Ended.IsCompleted && Statistics(machine, name) is { } running)
            return running;
        return machine.Ended.IsCompletedSuccessfully
            ? ReportJson.ToText(new RunReport { Result = machine.Ended.GetAwaiter().GetResult(), Name = name, CommandLine = machine.CommandLine })
            : "{}\n";
    }

    /// <summary>What a running guest says of itself, by the socket that <c>kvmsharp stats</c> asks.</summary>
    private static string? Statistics(VirtualMachine machine, string name)
    {
        string folder = RunFolder.NewPath("s");
        try
        {
            using var server = ControlServer.TryOpen(machine, folder, out _);
            if (server is null)
                return null;
            using var client = ControlClient.Connect(folder, name);
            client.AskStatistics(TimeSpan.FromMilliseconds(50), 1);
            return client.TryRead(out var answer) ? Encoding.UTF8.GetString(answer.Span) + "\n" : null;
        }
        catch (VmmException)
        {
            return null;
        }
        finally
        {
            if (Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
        }
    }
}
