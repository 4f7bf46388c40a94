using Kvm.Api.Http;
using Kvm.Manager;
using Kvm.Manager.Pools;
using Kvm.Vmm;
using Kvm.Vmm.Storage;

namespace Kvm.Api.Rest;

/// <summary><c>/pools</c>: storage pools and their volumes.</summary>
/// <param name="services">What they work with.</param>
internal sealed class PoolRoutes(RestServices services)
{
    private static readonly QueryWord s_force = new("force", "Does so though it is in use or damaged.");

    private readonly PoolStore _store = new(services.Options);

    public IEnumerable<Route> All =>
    [
        new("GET", "/pools", "Lists storage pools.", List) { Gives = ApiBody.Of(RestJson.Default.PoolListForm) },
        new("POST", "/pools", "Makes a pool of folders.", Define) { Takes = ApiBody.Of(RestJson.Default.PoolForm), Gives = ApiBody.Of(RestJson.Default.PoolStateForm), Status = 201 },
        new("GET", "/pools/{pool}", "Tells of a pool, its folders and its volumes.", Inspect) { Gives = ApiBody.Of(RestJson.Default.PoolStateForm) },
        new("DELETE", "/pools/{pool}", "Removes a pool.", Remove) { Status = 204, Query = [s_force] },
        new("POST", "/pools/{pool}/volumes", "Makes a volume, empty or as a clone.", Create) { Takes = ApiBody.Of(RestJson.Default.VolumeForm), Gives = ApiBody.Of(RestJson.Default.VolumeStateForm), Status = 201 },
        new("DELETE", "/pools/{pool}/volumes/{volume}", "Removes a volume, or a snapshot: VOLUME@SNAPSHOT.", RemoveVolume) { Status = 204, Query = [s_force] },
        new("POST", "/pools/{pool}/volumes/{volume}/snapshots", "Keeps a volume as it is.", Snapshot) { Takes = ApiBody.Of(RestJson.Default.VolumeSnapshotForm), Gives = ApiBody.Of(RestJson.Default.VolumeStateForm), Status = 201 },
        new("POST", "/pools/{pool}/volumes/{volume}/restore", "Sets a volume back to a snapshot of it.", Restore) { Takes = ApiBody.Of(RestJson.Default.VolumeSnapshotForm), Gives = ApiBody.Of(RestJson.Default.VolumeStateForm) },
    ];

    private Task<ApiAnswer> List(ApiRequest request) => Task.Run(() =>
    {
        var pools = _store.List();
        var form = new PoolListForm(
            [.. pools.Where(pool => pool.Pool is not null).Select(pool => Of(pool.Pool!.Inspect()))],
            [.. pools.Where(pool => pool.Problem is not null).Select(pool => new ProblemForm(pool.Name, pool.Problem!.Error.Id, pool.Problem.Message))]);
        return ApiAnswer.Json(form, RestJson.Default.PoolListForm);
    });

    private Task<ApiAnswer> Define(ApiRequest request) => Task.Run(() =>
    {
        var form = request.Read(RestJson.Default.PoolForm);
        return Show(_store.Define(VolumeName.CheckPool(form.Name), form.Folders, form.Quota), 201);
    });

    private Task<ApiAnswer> Inspect(ApiRequest request) => Task.Run(() => Show(_store.Get(VolumeName.CheckPool(request["pool"])), 200));

    private Task<ApiAnswer> Remove(ApiRequest request) => Task.Run(() =>
    {
        _store.Remove(VolumeName.CheckPool(request["pool"]), request.Flag("force"));
        return ApiAnswer.Done;
    });

    private Task<ApiAnswer> Create(ApiRequest request) => Task.Run(() =>
    {
        var form = request.Read(RestJson.Default.VolumeForm);
        var name = VolumeName.ParseVolume($"{request["pool"]}/{form.Name}");
        if (form.Size is null == form.From is null)
            throw new ApiRefusal(400, ApiErrors.BadRequest, "a volume has a size, or is cloned from another");
        var pool = _store.GetOrDefault(name.Pool);
        if (form.From is not null)
            pool.Clone(VolumeName.Parse($"{request["pool"]}/{form.From}"), name);
        else
            pool.Create(name, form.Size!.Value);
        return Show(pool, name, 201);
    });

    private Task<ApiAnswer> RemoveVolume(ApiRequest request) => Task.Run(() =>
    {
        var name = VolumeName.Parse($"{request["pool"]}/{request["volume"]}");
        bool force = request.Flag("force");
        if (!force && name.Snapshot is null && VolumeDisks.MachineOf(services.Manager, name) is { } machine)
            throw new VmmException(PoolErrors.VolumeInUse, $"{name} is a disk of the machine {machine}");
        _store.Get(name.Pool).Remove(name, force);
        return ApiAnswer.Done;
    });

    private Task<ApiAnswer> Snapshot(ApiRequest request) => Task.Run(() =>
    {
        var (pool, name) = SnapshotOf(request);
        pool.Snapshot(name);
        return Show(pool, name, 201);
    });

    private Task<ApiAnswer> Restore(ApiRequest request) => Task.Run(() =>
    {
        var (pool, name) = SnapshotOf(request);
        pool.Restore(name);
        return Show(pool, name with { Snapshot = null }, 200);
    });

    private (VolumePool Pool, VolumeName Name) SnapshotOf(ApiRequest request)
    {
        var name = VolumeName.ParseSnapshot($"{request["pool"]}/{request["volume"]}@{request.Read(RestJson.Default.VolumeSnapshotForm).Name}");
        return (_store.Get(name.Pool), name);
    }

    private static ApiAnswer Show(VolumePool pool, int status) => ApiAnswer.Json(Of(pool.Inspect()), RestJson.Default.PoolStateForm, status);

    private static ApiAnswer Show(VolumePool pool, VolumeName name, int status) => ApiAnswer.Json(
        Of(pool.TryFind(name) ?? throw new VmmException(PoolErrors.NoSuchVolume, $"{name} was removed meanwhile")), RestJson.Default.VolumeStateForm, status);

    private static PoolStateForm Of(PoolState state) => new(
        state.Pool.Name, state.Pool.Id, state.Pool.Quota, state.Promised, state.Real, state.Capacity, state.Free, state.Pending,
        [.. state.Folders.Select(folder => new FolderForm(folder.Path, folder.Free, folder.Total, folder.Problem))], [.. state.Volumes.Select(Of)], state.Problems);

    private static VolumeStateForm Of(VolumeState volume) => new(
        volume.Name, volume.Path, volume.Format == DiskFormat.Raw ? "raw" : "qcow2", volume.Size, volume.Allocated, volume.Files, volume.References, volume.Created, volume.Problem);
}
