using System.Diagnostics;
using System.Globalization;
using Kvm.Vmm.Agent;

namespace Kvm.Vmm.Tests.Agent;

/// <summary>Guests that answer anything, and payloads that are anything to the guest's agent.</summary>
public sealed class AgentFuzzTests : IDisposable
{
    private static readonly AgentFrame[] s_kinds = Enum.GetValues<AgentFrame>();
    private static readonly string[] s_names = ["a", "b", "..", ".", "a/b", "", "x y"];

    private readonly FakeAgent _agent = new();

    public void Dispose() => _agent.Dispose();

    [SkippableFact]
    public void What_the_guest_takes_apart_stays_inside_its_payload()
    {
        string source = Path.Combine(Root(), "tests/guest/fuzz/agent.c"), program = Path.Combine(_agent.Folder, "agent");
        Skip.IfNot(File.Exists("/usr/bin/gcc"), "needs gcc");
        Skip.IfNot(Run("gcc", "-g", "-O1", "-fno-builtin", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", program, source).ExitCode == 0, "this gcc has no sanitizers");

        Run(program, "1", "1").Should().Match<(int ExitCode, string Output)>(ended => ended.ExitCode == 0);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Any_answer_ends_in_a_result_or_a_typed_error(int seed)
    {
        for (int i = 0; i < 30; i++)
            await ConverseAsync(new Random(seed * 1000 + i));
    }

    /// <summary>What <c>scripts/fuzz agent</c> runs.</summary>
    [SkippableFact]
    public async Task FuzzForAsLongAsAsked()
    {
        string? minutes = Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_MINUTES");
        Skip.If(minutes is null || Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_TARGET") is not "agent", "only by scripts/fuzz agent");
        int first = int.Parse(Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_SEED") ?? "0", CultureInfo.InvariantCulture), seed = first;
        var end = DateTime.UtcNow + TimeSpan.FromMinutes(double.Parse(minutes!, CultureInfo.InvariantCulture));
        for (; DateTime.UtcNow < end; seed++)
            await ConverseAsync(new Random(seed));
        if (Environment.GetEnvironmentVariable("KVMSHARP_FUZZ_REPORT") is { } report)
            await File.WriteAllTextAsync(report, $"# agent: {seed - first} answers of guests, from seed {first}\n");
    }

    private async Task ConverseAsync(Random random)
    {
        string target = Directory.CreateDirectory(Path.Combine(_agent.Folder, "target")).FullName;
        bool runs = random.Next(2) == 0;
        byte[] begin = [.. "OK 1\n"u8, .. FakeAgent.Hello, .. runs ? FakeAgent.Started() : []];
        var served = _agent.ServeAsync([.. begin, .. Enumerable.Range(0, random.Next(20)).SelectMany(_ => Frame(random))]);
        try
        {
            await (runs ? RunAsync() : CopyAsync(target));
        }
        catch (AgentException)
        {
        }

        // The socket and the target: nothing else has come about.
        Directory.GetFileSystemEntries(_agent.Folder).Should().HaveCount(2);
        Directory.Delete(target, recursive: true);
        await served.ContinueWith(static task => _ = task.Exception, TaskScheduler.Default);
    }

    private static byte[] Frame(Random random)
    {
        if (random.Next(3) == 0)
            return FakeAgent.Node((byte)random.Next(5), s_names[random.Next(s_names.Length)], random.Next(2) == 0 ? "" : "/tmp");
        byte[] payload = new byte[random.Next(4) == 0 ? random.Next(65529) : random.Next(12)];
        if (random.Next(2) == 0)
            random.NextBytes(payload);
        byte[] frame = FakeAgent.Frame(s_kinds[random.Next(s_kinds.Length)], payload);
        if (random.Next(20) == 0)
            frame[random.Next(8)] = (byte)random.Next(256);
        return frame;
    }

    private async Task RunAsync()
    {
        await using var process = await AgentProcess.StartAsync(_agent.Path, TimeSpan.Zero, new AgentCommand("true"), default);
        await Task.WhenAll(process.Output.CopyToAsync(Stream.Null), process.Errors.CopyToAsync(Stream.Null));
        await process.Ended;
    }

    private async Task CopyAsync(string folder)
    {
        using var link = await AgentLink.OpenAsync(_agent.Path, TimeSpan.Zero, TimeSpan.Zero, AgentFrame.Get, AgentProtocol.Copy("/asked", true), default);
        using var target = HostPath.Target(folder, "/asked");
        await new TreeReceiver(link, deep: true).ReceiveAsync(target, default);
    }

    private static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Kvm.sln")))
            folder = folder.Parent;
        return folder!.FullName;
    }

    private static (int ExitCode, string Output) Run(string program, params string[] words)
    {
        using var process = Process.Start(new ProcessStartInfo(program, words) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        string output = process.StandardError.ReadToEnd() + process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output);
    }
}
