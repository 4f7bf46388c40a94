using System.Reflection;
using Kvm.Devices.Bus;

namespace Kvm.Devices.Tests;

public sealed class ArrowTests
{
    private static readonly Assembly Devices = typeof(IoBus).Assembly;

    [Fact]
    public void Devices_refer_to_no_other_project() =>
        Devices.GetReferencedAssemblies().Select(a => a.Name).Should().NotContain(name => name!.StartsWith("Kvm.", StringComparison.Ordinal));

    [Fact]
    public void Devices_import_no_native_function()
    {
        const BindingFlags All = BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        var methods = Devices.GetTypes().SelectMany(t => t.GetMethods(All)).ToList();
        methods.Should().NotBeEmpty();
        methods.Where(m => m.Attributes.HasFlag(MethodAttributes.PinvokeImpl)).Should().BeEmpty();
    }
}
