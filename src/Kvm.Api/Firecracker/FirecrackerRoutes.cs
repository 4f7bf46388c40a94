using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;

namespace Kvm.Api.Firecracker;

/// <summary>Firecracker's API: paths, and what they do with a microVM.</summary>
/// <param name="vm">The microVM.</param>
/// <param name="mostPayload">The most bytes of a body.</param>
internal sealed class FirecrackerRoutes(MicroVm vm, int mostPayload)
{
    private const string NoHotplug = "devices come and go before the start only";

    /// <summary>The table. Refusals are all 400, but for bodies that are too large (413).</summary>
    public RouteTable Table() => new("Firecracker API", [.. Looking(), .. BeforeStart(), .. WhileRunning(), .. Missing()], Refuse);

    private IEnumerable<Route> Looking() =>
    [
        Get("/", "The microVM's id and state.", _ => vm.Describe()),
        Get("/version", "The version of Firecracker's API.", _ => vm.Look((json, _) =>
        {
            json.WriteStartObject();
            json.WriteString("firecracker_version", MicroVm.ApiVersion);
            json.WriteEndObject();
        })),
        Get("/vm/config", "All that is configured.", _ => vm.Look(SettingsJson.Write)),
        Get("/machine-config", "Processors and memory.", _ => vm.Look(SettingsJson.WriteMachineConfig)),
        Get("/balloon", "The balloon.", _ => vm.ReadBalloon()),
        Get("/balloon/statistics", "How the guest uses its memory.", _ => vm.ReadStatistics()),
        Get("/mmds", "What the guest may ask of itself.", _ => vm.ReadMetadata()),
    ];

    private IEnumerable<Route> BeforeStart() =>
    [
        Put("/boot-source", "The kernel.", r => vm.Configure(s => PreBoot.BootSource(s, r.Bytes))),
        Put("/machine-config", "Processors and memory.", r => vm.Configure(s => PreBoot.MachineConfig(s, r.Bytes, isPatch: false))),
        Patch("/machine-config", "Some of processors and memory.", r => vm.Configure(s => PreBoot.MachineConfig(s, r.Bytes, isPatch: true))),
        Put("/cpu-config", "The processor's features: those it has.", r => vm.Configure(s =>
        {
            PreBoot.CpuConfig(r.Bytes);
            return s;
        })),
        Put("/drives/{id}", "A disk.", r => vm.Configure(s => PreBoot.Drive(s, r["id"], r.Bytes))),
        Put("/network-interfaces/{id}", "A network card.", r => vm.Configure(s => PreBoot.NetworkInterface(s, r["id"], r.Bytes))),
        Put("/balloon", "A balloon.", r => vm.Configure(s => PreBoot.Balloon(s, r.Bytes))),
        Put("/entropy", "Random bytes.", r => vm.Configure(s => PreBoot.Entropy(s, r.Bytes))),
        Put("/vsock", "Sockets between guest and host.", r => vm.Configure(s => PreBoot.Vsock(s, r.Bytes))),
        Put("/serial", "Where the console goes.", r => vm.Configure(s => PreBoot.Serial(s, r.Bytes))),
        Put("/mmds/config", "Where the guest may ask of itself.", r => vm.Configure(s => PreBoot.MetadataConfig(s, r.Bytes))),
        Put("/logger", "Where the log goes.", r => vm.ConfigureLogger(r.Bytes)),
        Put("/metrics", "Where the metrics go.", r => vm.ConfigureMetrics(r.Bytes)),
        Put("/snapshot/load", "Goes on from a snapshot.", r => vm.LoadSnapshot(r.Bytes)),
    ];

    private IEnumerable<Route> WhileRunning() =>
    [
        Put("/actions", "Starts, flushes metrics, or types Ctrl-Alt-Del.", r => vm.Act(r.Bytes)),
        Patch("/vm", "Pauses or resumes.", r => vm.SetState(r.Bytes)),
        Put("/mmds", "What the guest may ask of itself.", r => vm.WriteMetadata(r.Bytes, isPatch: false)),
        Patch("/mmds", "Changes what the guest may ask of itself.", r => vm.WriteMetadata(r.Bytes, isPatch: true)),
        Put("/snapshot/create", "Takes a snapshot of a paused microVM.", r => vm.TakeSnapshot(r.Bytes)),
        Patch("/balloon", "How much the balloon takes.", r => vm.SetBalloon(r.Bytes)),
        Patch("/balloon/statistics", "How often the guest is asked.", r => vm.SetStatisticsInterval(r.Bytes)),
        Patch("/drives/{id}", "A disk's limits.", r => vm.SetDrive(r["id"], r.Bytes)),
        Patch("/network-interfaces/{id}", "A card's limits.", r => vm.SetNetworkInterface(r["id"], r.Bytes)),
    ];

    /// <summary>What Firecracker has and this program does not: each says so.</summary>
    private static IEnumerable<Route> Missing()
    {
        foreach (var (method, template, what) in ((string, string, string)[])
            [("PUT", "/pmem/{id}", "virtio-pmem: a drive does"), ("PATCH", "/pmem/{id}", "virtio-pmem: a drive does"), ("DELETE", "/pmem/{id}", NoHotplug),
             ("DELETE", "/drives/{id}", NoHotplug), ("DELETE", "/network-interfaces/{id}", NoHotplug),
             ("GET", "/hotplug/memory", "virtio-mem: a balloon does"), ("PUT", "/hotplug/memory", "virtio-mem: a balloon does"), ("PATCH", "/hotplug/memory", "virtio-mem: a balloon does"),
             ("GET", "/balloon/hinting/status", "hints of free pages: free page reporting does"), ("PATCH", "/balloon/hinting/start", "hints of free pages: free page reporting does"),
             ("PATCH", "/balloon/hinting/stop", "hints of free pages: free page reporting does")])
        {
            yield return new Route(method, template, "Not there.", _ => throw Body.Lacks(what)) { Takes = method is "GET" or "DELETE" ? null : ApiBody.AnyBytes };
        }
    }

    private Route Get(string template, string summary, Func<ApiRequest, ApiAnswer> handler) =>
        new("GET", template, summary, r => Done(r, handler)) { Gives = ApiBody.AnyJson };

    private Route Put(string template, string summary, Func<ApiRequest, ApiAnswer> handler) => Change("PUT", template, summary, handler);

    private Route Patch(string template, string summary, Func<ApiRequest, ApiAnswer> handler) => Change("PATCH", template, summary, handler);

    // As bytes: bodies are understood here, as a configuration file's parts are.
    private Route Change(string method, string template, string summary, Func<ApiRequest, ApiAnswer> handler) =>
        new(method, template, summary, r => Done(r, handler)) { Takes = ApiBody.AnyBytes, Status = 204 };

    private Task<ApiAnswer> Done(ApiRequest request, Func<ApiRequest, ApiAnswer> handler)
    {
        if (request.Bytes.Length > mostPayload)
            throw new ApiRefusal(413, FirecrackerErrors.BadValue, $"the body has {request.Bytes.Length} bytes; the most is {mostPayload} (--http-api-max-payload-size)");
        vm.Log.Write(LogLevel.Info, $"{request.Route.Method} {request.Route.Template}", "api_server");
        var answer = handler(request);
        vm.Metrics.Count(request.Route.Method, request.Route.Template, failed: false);
        return Task.FromResult(answer);
    }

    private ApiAnswer Refuse(ApiRefusal refusal)
    {
        string[] asked = refusal.Asked.Split(' ', 2);
        vm.Metrics.Count(asked[0], asked.Length > 1 ? asked[1] : "", failed: true);
        vm.Log.Write(LogLevel.Error, $"{refusal.Asked}: {refusal.Error.Id}: {refusal.Message}", "api_server");
        return Fault(refusal);
    }

    /// <summary>How Firecracker's clients are told.</summary>
    public static ApiAnswer Fault(ApiRefusal refusal) => ApiAnswer.Json(json =>
    {
        json.WriteStartObject();
        json.WriteString("fault_message", $"{refusal.Error.Summary} ({refusal.Error.Id}): {refusal.Message}");
        json.WriteEndObject();
    }, refusal.Status == 413 ? 413 : 400);
}
