using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Kvm.Api.Rest;
using Kvm.Cli.Tests;
using Kvm.Manager;
using Kvm.Manager.Networks;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Tests.Rest;

/// <summary>A manager of this process in folders of its own, its clients, and machines that are gone after the test.</summary>
internal sealed class ManagerFixture : IDisposable
{
    private readonly Sandbox _sandbox = new();

    public ManagerFixture() => Options = new ManagerOptions
    {
        StateFolder = Directory.CreateDirectory(Path.Combine(_sandbox.Folder, "state")).FullName,
        RuntimeFolder = Directory.CreateDirectory(Path.Combine(_sandbox.Folder, "run")).FullName,
        Program = Published.Executable,
    };

    public ManagerOptions Options { get; }

    public VmManager Manager => new(Options);

    public string SocketPath => _sandbox.SocketPath;

    /// <summary>What the manager said to people.</summary>
    public System.Collections.Concurrent.ConcurrentQueue<string> Notices { get; } = new();

    public ManagerServer Open(int? webPort = null) => ManagerServer.Open(Options, new ManagerServerSettings("1.2.3", "a runtime") { SocketPath = SocketPath, WebPort = webPort, Notice = Notices.Enqueue });

    /// <summary>A manager until the end of the test, and a client of it.</summary>
    public HttpClient Serve()
    {
        _sandbox.Own(Open());
        return _sandbox.Client();
    }

    public Task<string> Raw(string request) => _sandbox.Raw(request);

    public Task<Socket> Connect(CancellationToken cancel) => _sandbox.Connect(cancel);

    /// <summary>A machine of a few instructions by the software engine, as POST /vms takes it.</summary>
    public static StringContent NewVm(string? name, string kernel = "/nowhere/vmlinux", string more = "") =>
        Json($"{{\"config\":{ConfigFile.Write(Settings(kernel))}{(name is null ? "" : $",\"name\":\"{name}\"")}{more}}}");

    public static RunSettings Settings(string kernel, string? name = null) =>
        new() { Machine = new VmConfig { KernelPath = kernel, Name = name ?? VmConfig.DefaultName, Engine = EngineChoice.Soft, MemoryBytes = 2 << 20, HugePages = false } };

    public static StringContent Json(string text) => new(text, Encoding.UTF8, "application/json");

    /// <summary>Waits for what an answer of 202 promised.</summary>
    public static async Task<JsonElement> Ended(HttpClient client, HttpResponseMessage accepted)
    {
        string text = await accepted.Content.ReadAsStringAsync();
        ((int)accepted.StatusCode).Should().Be(202, text);
        string place = accepted.Headers.Location!.ToString();
        place.Should().Be($"/operations/{JsonDocument.Parse(text).RootElement.GetProperty("id").GetString()}");
        var operation = JsonDocument.Parse(await client.GetStringAsync($"{place}?wait=55000")).RootElement;
        operation.GetProperty("ended").ValueKind.Should().Be(JsonValueKind.String, operation.ToString());
        return operation;
    }

    public static async Task<JsonElement> Get(HttpClient client, string path) => JsonDocument.Parse(await client.GetStringAsync(path)).RootElement;

    public static async Task Do(HttpClient client, string path)
    {
        using var accepted = await client.PostAsync(path, null);
        var operation = await Ended(client, accepted);
        operation.GetProperty("state").GetString().Should().Be("done", operation.ToString());
    }

    public void Dispose()
    {
        var networks = new NetworkStore(Options);
        foreach (var network in networks.List())
            networks.Remove(network.Record.Name, force: true);
        foreach (var entry in Manager.Store.List().Where(entry => entry.Record is not null))
        {
            entry.Record!.Supervisor?.Kill();
            entry.Record.Worker?.Kill();
        }

        _sandbox.Dispose();
    }
}
