using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Kvm.Cli.Tests;
using Kvm.Manager;

namespace Kvm.Api.Tests.Rest;

/// <summary><c>kvmsharp serve</c> as it is published, asked by curl.</summary>
public sealed partial class ServeTests : IDisposable
{
    private const int SigTerm = 15;

    private readonly ManagerFixture _fixture = new();
    private readonly List<Process> _started = [];

    public void Dispose()
    {
        foreach (var process in _started)
        {
            if (!process.HasExited)
                process.Kill();
            process.WaitForExit();
            process.Dispose();
        }

        _fixture.Dispose();
    }

    [SkippableFact]
    public void A_life_by_curl_ends_in_order_and_the_guest_goes_on_without_its_manager()
    {
        var serve = Serve();
        Curl("-X", "POST", "--data-binary", NewVm("web", Guests.Loop), "http://x/vms").GetProperty("state").GetString().Should().Be("created");
        Follow(Curl("-X", "POST", "http://x/vms/web/start")).GetProperty("state").GetString().Should().Be("done");
        Curl("http://x/vms/web").GetProperty("state").GetString().Should().Be("running");
        Curl("http://x/vms").GetProperty("vms").GetArrayLength().Should().Be(1);
        Curl("http://x/vms/wep").GetProperty("error").GetProperty("detail").GetString().Should().Contain("did you mean web?");
        Curl("http://x/version").GetProperty("processId").GetInt32().Should().Be(serve.Id);
        Curl("http://x/openapi.json").GetProperty("openapi").GetString().Should().Be("3.1.0");

        Published.Signal(serve, SigTerm);
        serve.WaitForExit(Sandbox.Patience).Should().BeTrue();
        serve.ExitCode.Should().Be(0);
        File.Exists(_fixture.SocketPath).Should().BeFalse("it ended in order");
        _fixture.Manager.Get("web").State.Should().Be(VmState.Running);
    }

    [SkippableFact]
    public void A_manager_that_was_killed_is_replaced_and_the_next_one_has_its_machines()
    {
        var first = Serve();
        Curl("-X", "POST", "--data-binary", NewVm("web", Guests.Loop), "http://x/vms");
        Follow(Curl("-X", "POST", "http://x/vms/web/start"));
        var worker = _fixture.Manager.Get("web").Worker;
        first.Kill();
        first.WaitForExit();
        File.Exists(_fixture.SocketPath).Should().BeTrue("nobody removed it");
        Serve();
        _fixture.Manager.Get("web").Worker.Should().Be(worker);
        Follow(Curl("-X", "POST", "http://x/vms/web/kill")).GetProperty("result").GetProperty("how").GetString().Should().Be("kill");
    }

    [SkippableFact]
    public void A_second_one_is_refused_with_the_first_named()
    {
        var first = Serve();
        var second = Start(["serve", "--socket", _fixture.SocketPath + "2"]);
        _started.Remove(second);
        Published.Finish(second).ShouldFail(1, "KVM0706", $"process {first.Id} at {_fixture.SocketPath}");
    }

    [SkippableFact]
    public void It_takes_the_socket_that_systemd_gives_and_says_when_it_is_ready()
    {
        Published.Require();
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(_fixture.SocketPath));
        listener.Listen();
        using var notices = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        string notify = Path.Combine(_fixture.Options.RuntimeFolder, "notify");
        notices.Bind(new UnixDomainSocketEndPoint(notify));
        notices.ReceiveTimeout = (int)Sandbox.Patience.TotalMilliseconds;

        // What systemd does: the socket is descriptor 3, and LISTEN_PID the process itself.
        int inherited = dup((int)listener.Handle);
        string script = $"exec 3<&{inherited} {inherited}<&-; export LISTEN_FDS=1 LISTEN_PID=$$ NOTIFY_SOCKET={notify}; exec {Published.Executable} serve";
        var serve = Start(["-c", script], "/bin/bash");
        close(inherited).Should().Be(0);
        Receive(notices).Should().Be("READY=1");
        Curl("http://x/version").GetProperty("processId").GetInt32().Should().Be(serve.Id);
        Published.Signal(serve, SigTerm);
        Receive(notices).Should().Be("STOPPING=1");
        serve.WaitForExit(Sandbox.Patience).Should().BeTrue();
        File.Exists(_fixture.SocketPath).Should().BeTrue("it is systemd's");
    }

    [SkippableFact]
    public void The_units_of_the_examples_are_what_systemd_takes()
    {
        Skip.IfNot(File.Exists("/usr/bin/systemd-analyze"), "no systemd-analyze");
        Published.Require();
        string folder = Path.Combine(_fixture.Options.StateFolder, "units");
        Directory.CreateDirectory(folder);
        foreach (string unit in (string[])["kvmsharp.service", "kvmsharp.socket"])
            File.WriteAllText(Path.Combine(folder, unit), File.ReadAllText(Path.Combine(Published.Root(), "docs", "examples", "systemd", unit)).Replace("/usr/local/bin/kvmsharp", Published.Executable, StringComparison.Ordinal));
        using var analyze = Process.Start(new ProcessStartInfo("/usr/bin/systemd-analyze", ["verify", "--user", .. Directory.GetFiles(folder)]) { RedirectStandardError = true })!;
        string said = analyze.StandardError.ReadToEnd();
        analyze.WaitForExit();
        said.Should().NotContain("kvmsharp.s", "it complains of neither");
    }

    private Process Serve()
    {
        Published.Require();
        var serve = Start(["serve", "--json", "--socket", _fixture.SocketPath]);
        JsonDocument.Parse(serve.StandardOutput.ReadLine()!).RootElement.GetProperty("socket").GetString().Should().Be(_fixture.SocketPath);
        return serve;
    }

    private Process Start(string[] arguments, string? program = null)
    {
        var start = new ProcessStartInfo(program ?? Published.Executable, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        start.Environment["KVMSHARP_STATE"] = _fixture.Options.StateFolder;
        start.Environment["KVMSHARP_RUNTIME"] = _fixture.Options.RuntimeFolder;
        var process = Process.Start(start)!;
        _started.Add(process);
        return process;
    }

    private JsonElement Curl(params string[] arguments)
    {
        Skip.IfNot(File.Exists("/usr/bin/curl"), "no curl");
        using var curl = Process.Start(new ProcessStartInfo("/usr/bin/curl", ["--silent", "--show-error", "--max-time", "60", "--unix-socket", _fixture.SocketPath, .. arguments]) { RedirectStandardOutput = true })!;
        string answer = curl.StandardOutput.ReadToEnd();
        curl.WaitForExit();
        curl.ExitCode.Should().Be(0, answer);
        return JsonDocument.Parse(answer).RootElement;
    }

    private JsonElement Follow(JsonElement operation) => Curl($"http://x/operations/{operation.GetProperty("id").GetString()}?wait=55000");

    private static string NewVm(string name, string kernel) => ManagerFixture.NewVm(name, kernel).ReadAsStringAsync().GetAwaiter().GetResult();

    private static string Receive(Socket notices)
    {
        byte[] buffer = new byte[256];
        return Encoding.UTF8.GetString(buffer, 0, notices.Receive(buffer));
    }

    /// <summary>A descriptor that what this process starts gets too.</summary>
    [LibraryImport("libc")]
    private static partial int dup(int descriptor);

    [LibraryImport("libc")]
    private static partial int close(int descriptor);
}
