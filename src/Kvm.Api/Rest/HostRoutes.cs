using System.Text;
using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Vmm.Scheduling.Service;

namespace Kvm.Api.Rest;

/// <summary>What concerns all machines: the schedule, metrics, the program, this API itself.</summary>
/// <param name="services">What they work with.</param>
internal sealed class HostRoutes(RestServices services)
{
    private RouteTable? _table;

    /// <summary>What the OpenAPI document is made of: told when all routes are known.</summary>
    public RouteTable? Table
    {
        set => _table = value;
    }

    public IEnumerable<Route> All =>
    [
        new("GET", "/schedule", "Tells who runs where: the tables of this user's schedulers.", Schedule) { Gives = ApiBody.Of(RestJson.Default.ScheduleForm) },
        new("GET", "/metrics", "Counters in the text format of Prometheus.", Metrics) { Gives = new ApiBody(MetricsText.MediaType) },
        new("GET", "/version", "Tells which program this is.", _ => Task.FromResult(ApiAnswer.Json(services.Version, RestJson.Default.VersionForm))) { Gives = ApiBody.Of(RestJson.Default.VersionForm) },
        new("GET", "/openapi.json", "Describes this API (OpenAPI 3.1).", _ => Task.FromResult(ApiAnswer.Json(json => OpenApiDocument.Of(_table!, services.Version.Version).WriteTo(json)))) { Gives = ApiBody.AnyJson },
    ];

    private Task<ApiAnswer> Schedule(ApiRequest request) => Task.Run(() =>
    {
        List<JsonElement> tables = [];
        foreach (var client in SchedulerClient.All(services.Options.RuntimeFolder))
        {
            using (client)
            using (var table = JsonDocument.Parse(client.Show("json")))
                tables.Add(table.RootElement.Clone());
        }

        return ApiAnswer.Json(new ScheduleForm(tables), RestJson.Default.ScheduleForm);
    });

    private async Task<ApiAnswer> Metrics(ApiRequest request) =>
        ApiAnswer.Bytes(MetricsText.MediaType, Encoding.UTF8.GetBytes(await MetricsText.Of(services, request.Cancel)));
}
