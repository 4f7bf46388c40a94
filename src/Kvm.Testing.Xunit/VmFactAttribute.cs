using Xunit;
using Xunit.Sdk;

namespace Kvm.Testing.Xunit;

/// <summary>
/// A test whose class has a <see cref="VmFixture"/>, or starts guests itself. Where it fails, what the fixture's guest did is kept (<see cref="GuestArtifacts.DefaultFolder"/>); where this host cannot run
/// the guest, it is skipped with the sentence that says why.
/// </summary>
[AttributeUsage(AttributeTargets.Method)]
[XunitTestCaseDiscoverer("Kvm.Testing.Xunit.VmFactDiscoverer", "Kvm.Testing.Xunit")]
public sealed class VmFactAttribute : FactAttribute
{
    /// <summary>The test needs KVM to run its guest natively; elsewhere it is skipped with doctor's sentence.</summary>
    public bool RequiresKvm { get; set; }
}

/// <summary>As <see cref="VmFactAttribute"/>, with data.</summary>
[AttributeUsage(AttributeTargets.Method)]
[XunitTestCaseDiscoverer("Kvm.Testing.Xunit.VmTheoryDiscoverer", "Kvm.Testing.Xunit")]
public sealed class VmTheoryAttribute : TheoryAttribute
{
    /// <summary>The test needs KVM to run its guest natively; elsewhere it is skipped with doctor's sentence.</summary>
    public bool RequiresKvm { get; set; }
}
