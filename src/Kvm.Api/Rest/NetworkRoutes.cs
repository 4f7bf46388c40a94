using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Manager.Networks;

namespace Kvm.Api.Rest;

/// <summary><c>/networks</c>: networks that outlive a command.</summary>
/// <param name="services">What they work with.</param>
internal sealed class NetworkRoutes(RestServices services)
{
    private static readonly QueryWord s_force = new("force", "Ends it first where it runs, and removes it also where its record cannot be read.");

    private readonly NetworkStore _store = new(services.Options);

    public IEnumerable<Route> All =>
    [
        new("GET", "/networks", "Lists networks.", List) { Gives = ApiBody.Of(RestJson.Default.NetworkListForm) },
        new("POST", "/networks", "Defines a network, or one that does not run anew: docs/network.md, 'A network as a model'.", Define) { Takes = ApiBody.AnyJson, Gives = ApiBody.Of(RestJson.Default.NetworkForm), Status = 201 },
        new("GET", "/networks/{network}", "Tells of a network, who has its addresses, and what it counted.", Get) { Gives = ApiBody.Of(RestJson.Default.NetworkForm) },
        new("DELETE", "/networks/{network}", "Removes a network.", Remove) { Status = 204, Query = [s_force] },
        new("POST", "/networks/{network}/start", "Starts a network, and waits until it is there.", Start) { Gives = ApiBody.Of(RestJson.Default.NetworkForm) },
        new("POST", "/networks/{network}/stop", "Ends a network; its guests are unplugged until it is started again.", Stop) { Gives = ApiBody.Of(RestJson.Default.NetworkForm) },
        new("POST", "/networks/{network}/autostart", "Has a network be started with the host, or not any more.", Autostart) { Takes = ApiBody.Of(RestJson.Default.NetworkAutostartForm), MayBeEmpty = true, Gives = ApiBody.Of(RestJson.Default.NetworkForm) },
    ];

    private Task<ApiAnswer> List(ApiRequest request) => Task.Run(() => ApiAnswer.Json(new NetworkListForm([.. _store.List().Select(entry => Of(entry, null))]), RestJson.Default.NetworkListForm));

    private Task<ApiAnswer> Define(ApiRequest request) => Task.Run(() => Show(_store.Define(request.Bytes, "the body"), 201));

    private Task<ApiAnswer> Get(ApiRequest request) => Task.Run(() => Show(_store.Get(request["network"]), 200));

    private Task<ApiAnswer> Remove(ApiRequest request) => Task.Run(() =>
    {
        _store.Remove(request["network"], request.Flag("force"));
        return ApiAnswer.Done;
    });

    private Task<ApiAnswer> Start(ApiRequest request) => Changed(request, _store.Start);

    private Task<ApiAnswer> Stop(ApiRequest request) => Changed(request, _store.Stop);

    private Task<ApiAnswer> Autostart(ApiRequest request) => Changed(request, name => _store.SetAutoStart(name, request.Json.ValueKind == JsonValueKind.Undefined || request.Read(RestJson.Default.NetworkAutostartForm).On));

    private Task<ApiAnswer> Changed(ApiRequest request, Func<string, NetworkRecord> change) => Task.Run(() =>
    {
        change(request["network"]);
        return Show(_store.Get(request["network"]), 200);
    });

    private ApiAnswer Show(NetworkEntry entry, int status) => ApiAnswer.Json(Of(entry, entry.Record.Runs ? _store.Status(entry.Record.Name) : null), RestJson.Default.NetworkForm, status);

    private static NetworkForm Of(NetworkEntry entry, JsonElement? status) => new(
        entry.Record.Name, entry.State, entry.Model?.SubnetText, entry.Record.AutoStart, entry.Record.Generation, entry.Record.Since, entry.Record.Runs ? entry.Record.Process!.Value.Id : 0, entry.Why,
        status?.GetProperty("leases").Deserialize(RestJson.Default.IReadOnlyListNetworkLeaseForm), status?.GetProperty("counters"));
}
