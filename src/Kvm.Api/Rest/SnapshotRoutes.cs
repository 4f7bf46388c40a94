using System.Text.Json;
using Kvm.Api.Http;
using Kvm.Vmm.Snapshots.Store;

namespace Kvm.Api.Rest;

/// <summary><c>/snapshots</c>: those of the state folder.</summary>
/// <param name="services">What they work with.</param>
/// <param name="vms">Takes operations.</param>
internal sealed class SnapshotRoutes(RestServices services, VmRoutes vms)
{
    public IEnumerable<Route> All =>
    [
        new("GET", "/snapshots", "Lists snapshots.", List) { Gives = ApiBody.Of(RestJson.Default.SnapshotListForm) },
        new("POST", "/snapshots", "Takes a snapshot of a running machine, while it runs.", Create) { Takes = ApiBody.Of(RestJson.Default.SnapshotForm), Gives = ApiBody.Of(RestJson.Default.OperationForm), Status = 202 },
        new("GET", "/snapshots/{name}", "Tells how large a snapshot is, what it shares and what it is based on.", Inspect) { Gives = ApiBody.Of(RestJson.Default.SnapshotDetailsForm) },
        new("DELETE", "/snapshots/{name}", "Removes a snapshot that no other is based on.", Remove) { Status = 204 },
    ];

    private Task<ApiAnswer> List(ApiRequest request) => Task.Run(() =>
        ApiAnswer.Json(new SnapshotListForm([.. services.Snapshots.List().Select(Of)]), RestJson.Default.SnapshotListForm));

    private Task<ApiAnswer> Create(ApiRequest request)
    {
        var form = request.Read(RestJson.Default.SnapshotForm);
        byte[] arguments = JsonSerializer.SerializeToUtf8Bytes(new SnapshotArguments(form.Name, form.Incremental), RestJson.Default.SnapshotArguments);
        return vms.Take(request, form.Vm, "snapshot", arguments);
    }

    private Task<ApiAnswer> Inspect(ApiRequest request) => Task.Run(() =>
    {
        var details = services.Snapshots.Inspect(request["name"]);
        var sizes = details.Sizes;
        var form = new SnapshotDetailsForm(
            Of(details.Info), details.Chain, details.Content.Producer, details.Content.Engine, sizes.Logical, sizes.Zero, sizes.Stored, sizes.Shared, sizes.DedupeRatio, sizes.CompressionRatio);
        return ApiAnswer.Json(form, RestJson.Default.SnapshotDetailsForm);
    });

    private Task<ApiAnswer> Remove(ApiRequest request) => Task.Run(() =>
    {
        services.Snapshots.Remove([request["name"]]);
        return ApiAnswer.Done;
    });

    private static SnapshotInfoForm Of(SnapshotInfo info) => new(info.Name, info.Identity, info.Created, info.Parent, info.IsEncrypted, info.Purpose switch
    {
        null => null,
        SnapshotPurpose.Template => "template",
        SnapshotPurpose.Backup => "backup",
        _ => "snapshot",
    }, info.Bytes, info.Note, info.Problem);
}
