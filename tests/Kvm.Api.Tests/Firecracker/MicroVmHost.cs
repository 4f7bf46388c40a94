using System.Text;
using System.Text.Json;
using Kvm.Api.Firecracker;
using Kvm.Vmm;
using Kvm.Vmm.Reporting;

namespace Kvm.Api.Tests.Firecracker;

/// <summary>A microVM on a socket, whose machines run on the software engine in this process, and a client of it.</summary>
internal sealed class MicroVmHost : IDisposable
{
    private readonly CancellationTokenSource _ending = new();
    private readonly FirecrackerInstance _instance;
    private readonly HttpClient _client;
    private readonly Task _runner;
    private readonly StringBuilder _console = new();
    private VirtualMachine? _machine;

    public MicroVmHost(Func<FirecrackerOptions, FirecrackerOptions>? options = null)
    {
        FirecrackerOptions basis = new() { ApiSocket = Sandbox.SocketPath, Engine = EngineChoice.Soft };
        try
        {
            _instance = FirecrackerInstance.Open(options is null ? basis : options(basis));
        }
        catch
        {
            Sandbox.Dispose();
            throw;
        }

        _client = Sandbox.Client();
        _runner = Task.Factory.StartNew(Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    public Sandbox Sandbox { get; } = new();

    public VirtualMachine Machine => _machine!;

    /// <summary>A file in the sandbox.</summary>
    public string FileOf(string name, int bytes = 4096)
    {
        string path = Path.Combine(Sandbox.Folder, name);
        File.WriteAllBytes(path, new byte[bytes]);
        return path;
    }

    public string PathOf(string name) => Path.Combine(Sandbox.Folder, name);

    /// <summary>Asks; gives status and body.</summary>
    public async Task<(int Status, string Body)> Ask(string method, string path, string? body = null)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path) { Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json") };
        using var answer = await _client.SendAsync(request);
        return ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync());
    }

    public async Task Put(string path, string body) => (await Ask("PUT", path, body)).Should().Be((204, ""));

    public async Task Patch(string path, string body) => (await Ask("PATCH", path, body)).Should().Be((204, ""));

    public async Task<JsonElement> Get(string path)
    {
        var (status, body) = await Ask("GET", path);
        status.Should().Be(200, body);
        return JsonDocument.Parse(body).RootElement;
    }

    /// <summary>Asserts that a request is refused, in Firecracker's form.</summary>
    public async Task ShouldRefuse(string method, string path, string? body, string says, int status = 400)
    {
        var (found, text) = await Ask(method, path, body);
        found.Should().Be(status, text);
        var fault = JsonDocument.Parse(text).RootElement;
        fault.EnumerateObject().Select(member => member.Name).Should().Equal("fault_message");
        fault.GetProperty("fault_message").GetString().Should().Contain(says);
    }

    /// <summary>Boots a kernel of a few instructions.</summary>
    public async Task Boot(string kernel)
    {
        await Put("/boot-source", $$"""{"kernel_image_path": "{{kernel}}"}""");
        await Put("/actions", """{"action_type": "InstanceStart"}""");
    }

    /// <summary>Waits until the console has said something, and gives all of it.</summary>
    public async Task<string> Console(string text)
    {
        using var patience = new CancellationTokenSource(Sandbox.Patience);
        while (true)
        {
            Task more;
            lock (_console)
            {
                if (_console.ToString().Contains(text, StringComparison.Ordinal))
                    return _console.ToString();
                more = _more.Task;
            }

            await more.WaitAsync(patience.Token);
        }
    }

    private TaskCompletionSource _more = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public async Task Ended() => await Machine.Ended.WaitAsync(Sandbox.Patience);

    public void Dispose()
    {
        _ending.Cancel();
        _machine?.Stop(VmOutcome.StoppedByUser);
        _runner.Wait(Sandbox.Patience).Should().BeTrue("what runs machines ends");
        _instance.Dispose();
        Sandbox.Dispose();
        _ending.Dispose();
    }

    private void Run()
    {
        while (_instance.NextStart(_ending.Token) is { } start)
        {
            try
            {
                using var machine = start.Build(start.Settings.Machine, new VmHost { ConsoleOutput = Write });
                Volatile.Write(ref _machine, machine);
                machine.Start();
                start.Started(machine);
                if (_ending.IsCancellationRequested)
                    machine.Stop(VmOutcome.StoppedByUser);
                machine.Ended.GetAwaiter().GetResult();
                start.Over();
            }
            catch (VmmException e)
            {
                start.Failed(e);
            }
        }
    }

    private void Write(ReadOnlySpan<byte> text)
    {
        lock (_console)
        {
            _console.Append(Encoding.ASCII.GetString(text));
            _more.TrySetResult();
            _more = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }
}
